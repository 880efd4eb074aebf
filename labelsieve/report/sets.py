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
    """Sets in the order in which they come, their numbers, and the classes in them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._classes: dict[str, None] = {}

    def __call__(self, text: str) -> int:
        """The number of a set of `write_set`, a new one where it is new."""
        self._classes.update(dict.fromkeys(read_set(text)))
        return self._numbers.setdefault(text, len(self._numbers))

    def all(self) -> list[str]:
        """What sets are called, by number."""
        return [shown(text) for text in self._numbers]

    def labels(self) -> list[str]:
        """Classes that occur, sorted."""
        return sorted(self._classes)

    def members(self) -> list[list[int]]:
        """Places in `labels` of the classes of each set, by number."""
        at = {name: place for place, name in enumerate(self.labels())}
        return [[at[name] for name in read_set(text)] for text in self._numbers]


def columns(opened: Run, standing: SetStanding, rows: np.ndarray) -> dict[str, Any]:
    """Columns of `labelsieve.report.cards.Suspects` for the suspects `rows` [m]."""
    names = Names()
    given = [names(text) for text in standing.given[rows]]
    suggested = [names(text) for text in standing.suggested[rows]]
    decided = []
    for text in standing.decided[rows]:
        decided.append(-1 if text is None else names(text))
    return {
        "classes": names.all(),
        "labels": names.labels(),
        "members": names.members(),
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
    places = np.flatnonzero(standing.scanned.given[row] ^ standing.likely[row])
    return [standing.classes[place] for place in places]


def with_pair(standing: SetStanding, rows: np.ndarray, given: str, other: str) -> Any:
    """Those of `rows` [m] where one class is flagged as extra and another one as missing."""
    # of flagged labels alone, as the suggested set differs in nothing else
    scanned = standing.scanned
    differs = scanned.given ^ standing.likely
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
    numbers = np.array([names(text) for text in standing.given], dtype=np.int64)
    return numbers, names.all()
