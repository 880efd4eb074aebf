"""Writing report.html: the verdict and what limits it, suspects, charts, data and settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelsieve.audits import guarantee, headline, stopping
from labelsieve.data.labels import SET
from labelsieve.estimation.noise_rate import says_little
from labelsieve.files import replacing
from labelsieve.report import cards, charts, sets
from labelsieve.runs import items, standing
from labelsieve.runs.pages import asset, library, template
from labelsieve.runs.pictures import Pictures, open_pictures
from labelsieve.runs.run import NOUNS, Run, alone
from labelsieve.runs.standing import Standing


def make(
    folder: str | Path | Run, data: Any = None, *, everything: bool = False
) -> Path:
    """Write `report.html` of a run again, with what people decided since.

    Args:
        data: the scanned data, where they are no longer where they were scanned, or were in memory.
        everything: also write the suspects that do not fit into it, as report-2.html and so on.

    Raises:
        RunError: no run, not finished, damaged, or its data cannot be opened.
    """
    opened = folder if isinstance(folder, Run) else Run(folder)
    opened.require_finished()
    # no scan replaces the run meanwhile
    with alone(opened):
        return write(opened, open_pictures(opened, data), everything=everything)


def write(opened: Run, pictures: Pictures, *, everything: bool = False) -> Path:
    """Write `report.html` of a run whose results are there."""
    now = standing.of_run(opened)
    rows = cards.order(now)
    _write(opened.report, _page(opened, now, rows, pictures))
    if everything:
        for number, part in _others(rows):
            path = opened.report.with_name(f"report-{number}.html")
            _write(path, _further(opened, now, part, pictures, number))
    return opened.report


def _others(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows that the first file has no room for, with the number of their file."""
    for start in range(cards.MOST, len(rows), cards.MOST):
        yield start // cards.MOST + 1, rows[start : start + cards.MOST]


def _write(path: Path, html: str) -> None:
    with replacing(path) as scratch:
        # file names may hold bytes that are no text
        scratch.write_text(html, encoding="utf-8", errors="backslashreplace")
        scratch.chmod(0o600)  # it shows the user's pictures


def _page(opened: Run, now: Standing, rows: np.ndarray, pictures: Pictures) -> str:
    first = rows[: cards.MOST]
    return template("report.html.j2").render(
        **_verdict(opened, now),
        record=opened.record,
        noun=NOUNS[opened.kind],
        **_words(pictures),
        set_classes=sets.classes(opened) if opened.kind == SET else [],
        set_noise=opened.record.get("set_noise"),
        caveats=opened.record.get("caveats", []),
        preflight=opened.preflight,
        suspects=vars(cards.suspects(opened, now, first, pictures)),
        first=1,
        flagged=len(rows),
        pairs=cards.examples(opened, now, rows, pictures),
        classes=charts.classes(opened),
        charts=charts.of_run(opened, now),
        style=asset("style.css") + asset("report.css"),
        scripts=[
            library("d3"),
            library("plot"),
            asset("items.js"),
            asset("report.js"),
            asset("suspects.js"),
        ],
    )


def _words(pictures: Pictures) -> dict[str, str]:
    """What one item is called, and several."""
    noun = items.noun_of(pictures)
    return {"thing": noun, "things": f"{noun}s"}


def _further(
    opened: Run, now: Standing, rows: np.ndarray, pictures: Pictures, number: int
) -> str:
    """A file of suspects alone."""
    return template("report_more.html.j2").render(
        **_words(pictures),
        record=opened.record,
        suspects=vars(cards.suspects(opened, now, rows, pictures)),
        first=(number - 1) * cards.MOST + 1,
        style=asset("style.css") + asset("report.css"),
        scripts=[asset("items.js"), asset("suspects.js")],
    )


def _verdict(opened: Run, now: Standing) -> dict[str, Any]:
    """The sentence at the top, and what stands beside it."""
    # of people's answers to a random sample, which are right whatever the model is
    promised = guarantee.of_run(opened)
    # what was skipped is not decided
    decided = now.verdicts[now.verdicts != None]  # noqa: E711  (element by element)
    reviewed = {"images": len(decided), "wrong": int((decided != "keep").sum())}
    return {
        "verdict": headline.of_run(opened, now, promised),
        # with these bounds a number would say more than is known
        # shares of classes and confusions are the model's, whatever people said of the whole
        "vague": says_little(*opened.noise_rate[1:]),
        "scan": dict(zip(("rate", "low", "high"), opened.noise_rate, strict=True)),
        "audit": promised.rate,
        # without any audit there is nothing to say but that there is none
        "promises": stopping.sentences(opened, promised) if promised.audits else [],
        "reviewed": reviewed if len(decided) else None,
    }
