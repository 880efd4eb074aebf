"""The report: one HTML file that needs no network.

Charts are drawn in the browser by Observable Plot (SVG), which is embedded: it follows the page's
colours in the dark and on paper, stays sharp, and costs half a megabyte. Every chart has its
numbers in a table beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.estimation.audits.shares import Rate
from labelsieve.estimation.noise_rate import noise_matrix
from labelsieve.files import replacing
from labelsieve.runs import audit
from labelsieve.runs.decisions import WRONG, open_decisions
from labelsieve.runs.pages import asset, library, template
from labelsieve.runs.pictures import Pictures, open_pictures, thumbnail
from labelsieve.runs.reasons import Neighbours, neighbours
from labelsieve.runs.run import Run

# what a browser shows without delay and a person looks through: some megabytes of pictures
CARDS = 60
SMALL = 72  # side of the pictures beside a card, in pixels
PAIRS = 8  # confusions with examples
EXAMPLES = 4  # pictures of each
BARS = 30  # classes in the bar chart: more have no room for their names
CELLS = 24  # classes in the matrix, likewise
ROWS = 500  # classes in the table
BINS = 40


def make(folder: str | Path | Run, data: str | None = None) -> Path:
    """Write `report.html` of a run again, with what people decided since.

    Args:
        data: the scanned data, where they are no longer where they were scanned.

    Raises:
        RunError: no run, not finished, damaged, or its data cannot be opened.
    """
    opened = folder if isinstance(folder, Run) else Run(folder)
    opened.require_finished()
    return write(opened, open_pictures(opened, data))


def write(opened: Run, pictures: Pictures) -> Path:
    """Write `report.html` of a run whose results are there."""
    flagged = opened.scores.filter(pc.fill_null(opened.scores["is_label_issue"], False))
    html = template("report.html.j2").render(
        **_decided(opened),
        record=opened.record,
        preflight=opened.preflight,
        cards=_cards(flagged, opened, pictures),
        flagged=len(flagged),
        pairs=_pairs(flagged, opened.noise["pairs"], pictures),
        classes=_classes(opened),
        charts=_charts(opened),
        style=asset("style.css") + asset("report.css"),
        scripts=[library("d3"), library("plot"), asset("report.js")],
    )
    with replacing(opened.report) as scratch:
        # file names may hold bytes that are no text
        scratch.write_text(html, encoding="utf-8", errors="backslashreplace")
        scratch.chmod(0o600)  # it shows the user's pictures
    return opened.report


def _decided(opened: Run) -> dict[str, Any]:
    """What people decided, and the sentence at the top that follows from it."""
    decisions = open_decisions(opened)
    if decisions is None:
        return {"verdict": _verdict(opened, None), "audit": None, "reviewed": None}
    try:
        audited = audit.of_run(opened, decisions)
        reviewed = _reviewed(decisions.table())
    finally:
        decisions.close()
    verdict = _verdict(opened, audited)
    return {"verdict": verdict, "audit": audited, "reviewed": reviewed}


def _verdict(opened: Run, audited: Rate | None) -> dict[str, Any]:
    """The audited rate where there is one, else the model's estimate."""
    rate, low, high = opened.noise_rate
    if audited is not None:
        rate, low, high = audited.rate, audited.low, audited.high
    return {
        "rate": rate,
        "low": low,
        "high": high,
        "wrong": rate * opened.record["scored"],
        "audited": audited is not None,
    }


def _reviewed(decided: pa.Table) -> dict[str, int]:
    wrong = pc.sum(pc.is_in(decided["verdict"], pa.array(WRONG))).as_py() or 0
    return {"images": len(decided), "wrong": wrong}


def _cards(flagged: pa.Table, opened: Run, pictures: Pictures) -> list[dict[str, Any]]:
    alike = neighbours(opened)
    return [card(row, alike, pictures) for row in flagged.slice(0, CARDS).to_pylist()]


def card(
    row: Mapping[str, Any], alike: Neighbours | None, pictures: Pictures
) -> dict[str, Any]:
    """One suspicious image with the reasons to suspect it.

    Those are the similarities to the prompts, and its nearest trusted images of both classes.
    """
    near = []
    if alike is not None:
        # a suggestion may be the given label: shown once
        for label in dict.fromkeys([row["given_label"], row["suggested_label"]]):
            ids = alike.nearest(row["sample_id"], label)
            near.append({"label": label, "pictures": _thumbnails(pictures, ids)})
    picture = thumbnail(pictures, row["sample_id"])
    return {**row, "thumbnail": picture, "near": near, **reasons(row)}


def _thumbnails(pictures: Pictures, ids: list[str]) -> list[str]:
    """Small pictures as data addresses; those that cannot be read are left out."""
    shown = [thumbnail(pictures, sample_id, SMALL) for sample_id in ids]
    return [address for address in shown if address]


def reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """Similarities to the given class's two prompts, where the method has them."""
    positive = row.get("positive_logit")
    negative = row.get("negative_logit") if positive is not None else None
    return {"positive": positive, "negative": negative}


def _pairs(
    flagged: pa.Table, pairs: list[dict[str, Any]], pictures: Pictures
) -> list[dict[str, Any]]:
    """The most frequent confusions with examples."""
    # most suspicious first, as the rows are
    examples: dict[tuple[str, str], list[str]] = defaultdict(list)
    columns = (
        flagged[c].to_pylist() for c in ("sample_id", "given_label", "suggested_label")
    )
    for sample_id, given, suggested in zip(*columns, strict=True):
        examples[given, suggested].append(sample_id)
    shown = []
    for pair in pairs[:PAIRS]:
        ids = examples.get((pair["given"], pair["suggested"]), [])
        thumbnails = _thumbnails(pictures, ids[:EXAMPLES])
        shown.append({**pair, "flagged": len(ids), "pictures": thumbnails})
    return shown


def _classes(opened: Run) -> list[dict[str, Any]]:
    """Classes with their number of images and estimated share of wrong labels, noisiest first."""
    counts = opened.preflight["classes"]
    rates = sorted(opened.noise["per_class"].items(), key=lambda p: -p[1])
    classes = []
    for name, rate in rates[:ROWS]:
        images = counts.get(name, 0)
        classes.append(
            {"name": name, "images": images, "rate": rate, "wrong": rate * images}
        )
    return classes


def _charts(opened: Run) -> dict[str, Any]:
    """What report.js draws."""
    bars = []
    for each in _classes(opened)[:BARS]:
        bars.append({key: each[key] for key in ("name", "rate", "images")})
    return {
        "classes": bars,
        "all_classes": len(opened.classes),
        "matrix": _matrix(opened.noise, opened.classes),
        "histogram": histogram(opened.scores),
    }


def _matrix(noise: Mapping[str, Any], classes: list[str]) -> dict[str, Any]:
    """Given → estimated true class, shares of a row, of the classes confused most."""
    # sparse: with thousands of classes nearly all cells are empty
    matrix = noise_matrix(noise)
    # images that left a class or came to it; the diagonal counts twice
    confused = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    shown = np.sort(np.argsort(-confused, kind="stable")[:CELLS])
    # shares of all images of the given class, also of those whose column is not shown
    rows = matrix[shown][:, shown].toarray() / matrix.sum(1)[shown].clip(1e-12)[:, None]
    names = [classes[i] for i in shown]
    cells = []
    for a, given in enumerate(names):
        for b, suggested in enumerate(names):
            share = round(float(rows[a, b]), 4)
            cells.append({"given": given, "suggested": suggested, "share": share})
    return {
        "classes": names,
        "cells": cells,
        "rows": rows.round(3).tolist(),
    }


def histogram(scores: pa.Table) -> dict[str, Any]:
    """Counts of p_clean in equal bins, flagged and not.

    `threshold` is the value that separates the two, None where none does.
    """
    scored = scores.filter(scores["p_clean"].is_valid())
    values = scored["p_clean"].to_numpy()
    issue = scored["is_label_issue"].to_numpy(zero_copy_only=False).astype(bool)
    flagged, edges = np.histogram(values[issue], bins=BINS, range=(0, 1))
    kept, _ = np.histogram(values[~issue], bins=BINS, range=(0, 1))
    bins = []
    for number in range(BINS):
        bins.append(
            {
                "x1": float(edges[number]),
                "x2": float(edges[number + 1]),
                "flagged": int(flagged[number]),
                "kept": int(kept[number]),
            }
        )
    threshold = None
    if issue.any() and not issue.all():
        highest = values[issue].max()
        lowest = values[~issue].min()
        threshold = float((highest + lowest) / 2) if highest <= lowest else None
    return {"bins": bins, "threshold": threshold}
