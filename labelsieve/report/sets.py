"""What the report shows of sets of labels: as of single ones, where a set is called by its classes.

A set is shown as "cat, dog"; what differs between a given and a suggested set stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.data.labels import read_set
from labelsieve.runs.run import Run
from labelsieve.runs.sets.standing import SetStanding

EMPTY = "(no class)"  # how a set without labels is called


def short(shares: np.ndarray) -> np.ndarray:
    """Shares [m] with four digits; what is nearly sure does not become certain by it."""
    nearly = np.round(shares, 4).clip(1e-4, 1 - 1e-4)
    return np.where((shares > 0) & (shares < 1), nearly, shares)


def shown(text: str | None) -> str:
    """A set of `write_set` for people."""
    return ", ".join(read_set(text)) or EMPTY if text else EMPTY


class Names:
    """Names in the order in which they come, and their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        """The number of a name, a new one where it is new."""
        return self._numbers.setdefault(name, len(self._numbers))

    def all(self) -> list[str]:
        """Names by number."""
        return list(self._numbers)


def columns(opened: Run, standing: SetStanding, rows: np.ndarray) -> dict[str, Any]:
    """Columns of `labelsieve.report.cards.Suspects` for the suspects `rows` [m]."""
    names = Names()
    given = [names(shown(text)) for text in standing.given[rows]]
    suggested = [names(shown(text)) for text in standing.suggested[rows]]
    decided = []
    for text in standing.decided[rows]:
        decided.append(-1 if text is None else names(shown(text)))
    return {
        "classes": names.all(),
        "path": opened.scores["path"].take(rows).to_pylist(),
        "given": given,
        "suggested": suggested,
        # four digits: what a person reads, and half of the bytes
        "wrong": short(standing.p_wrong[rows]).tolist(),
        "suggested_prob": short(standing.suggested_prob[rows]).tolist(),
        "verdict": [verdict or "" for verdict in standing.verdicts[rows]],
        "decided": decided,
        "picture": [],
    }


def changed(standing: SetStanding, row: int) -> list[str]:
    """Classes in which the suggested set of a row differs from the given one."""
    scanned = standing.scanned
    places = np.flatnonzero(scanned.given[row] ^ scanned.suggested[row])
    return [standing.classes[place] for place in places]


def with_pair(standing: SetStanding, rows: np.ndarray, given: str, other: str) -> Any:
    """Those of `rows` [m] where one class is flagged as extra and another one as missing."""
    # of flagged labels alone, as the suggested set differs in nothing else
    scanned = standing.scanned
    differs = scanned.given ^ scanned.suggested
    first, second = standing.classes.index(given), standing.classes.index(other)
    extra = (differs & scanned.given)[rows, first]
    missing = (differs & ~scanned.given)[rows, second]
    return rows[extra & missing]


def classes(opened: Run) -> list[dict[str, Any]]:
    """Classes with their labels and what is extra and missing, the most errors first."""
    noise, images = opened.noise, opened.preflight["classes"]
    rows = []
    # of a stranger's run the record may name other classes
    for name, extra in noise.get("extra_of", {}).items():
        missing = noise["missing_of"][name]
        rows.append(
            {
                "name": name,
                "images": images.get(name, 0),
                "extra": extra,
                "missing": missing,
            }
        )
    return sorted(
        rows, key=lambda row: -row["extra"]["count"] - row["missing"]["count"]
    )


def numbered(standing: SetStanding) -> tuple[np.ndarray, list[str]]:
    """[n] int64 number of each given set, and what the sets are called."""
    names = Names()
    numbers = np.array([names(shown(text)) for text in standing.given], dtype=np.int64)
    return numbers, names.all()
