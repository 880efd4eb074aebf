"""The scored images of a run of sets as columns: a set has a number, as a label has one.

Sets are numbered as they come; what is written down of one is its text, and a person reads its
classes with commas between them.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from labelsieve.data.labels import read_set, write_set
from labelsieve.errors import DataError
from labelsieve.report.sets import EMPTY, shown
from labelsieve.review.columns import Columns
from labelsieve.runs.run import Run
from labelsieve.runs.sets.standing import check_set, read

CHIPS = 60  # classes that a card offers to put in or out; others are typed


class SetColumns(Columns):
    """As `Columns`; `given` are numbers of sets."""

    def __init__(self, opened: Run) -> None:
        super().__init__(opened)
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self.scanned = read(opened)
        texts = self.scanned.coding.decode(self.scanned.given).to_pylist()
        self.given = np.array([self._number(text) for text in texts], dtype=np.int32)

    def _number(self, text: str) -> int:
        """The number of a set, a new one where nobody spoke of it before."""
        # several pages may speak of a new set at once
        with self._lock:
            if text not in self._numbers:
                self._numbers[text] = len(self._texts)
                self._texts.append(text)
            return self._numbers[text]

    @property
    def width(self) -> int:
        """How many sets have a number."""
        return len(self._texts)

    def name(self, code: int) -> str | None:
        """A set as a person reads it."""
        return shown(self._texts[code]) if code >= 0 else None

    def text(self, code: int) -> str:
        """A set as it is written down; "" for none of them."""
        return self._texts[code] if code >= 0 else ""

    def say(self, label: str) -> str:
        """A set that was written down, as a person reads it."""
        return shown(label)

    def code(self, label: str | None) -> int:
        """Number of a set; -1 of what is none of the classes.

        Args:
            label: its text, or its classes as a person reads them, or a single class.
        """
        if not label:
            return -1
        # no class of a run of sets begins so without being asked about as a set
        if label.startswith("["):
            try:
                return self._number(check_set(label, tuple(self.classes)))
            except DataError:
                return -1
        if label in self.classes:
            return self._number(write_set([label]))
        parts = [] if label == EMPTY else label.split(", ")
        known = all(part in self.classes for part in parts)
        return self._number(write_set(parts)) if known else -1

    def with_label(self, name: str) -> np.ndarray:
        """[n] bool: sets with a class."""
        return self._has(self.scanned.given, name)

    def offering(self, now: Any, offered: np.ndarray, name: str) -> np.ndarray:
        """[n] bool: rows whose offered set differs from the given one in a class."""
        return self._has(self.scanned.given ^ now.likely, name)

    def _has(self, values: np.ndarray, name: str) -> np.ndarray:
        if name not in self.classes:
            return np.zeros(len(values), dtype=bool)
        result: np.ndarray = values[:, self.classes.index(name)].copy()
        return result

    def offered(self, now: Any) -> np.ndarray:
        """[n] int64 number of the set that a reviewer is offered."""
        numbers = [self._number(text) for text in now.suggested]
        return np.array(numbers, dtype=np.int64)

    def probability(self, now: Any, row: int, offered: int) -> float:
        """Probability of what a reviewer is offered."""
        return float(now.suggested_prob[row])

    def compared(
        self, now: Any, row: int, given: str, offered: str | None
    ) -> list[str | None]:
        """Classes whose trusted pictures stand beside one: those that are said to be wrong."""
        own = self.scanned.given[row]
        changed = np.flatnonzero(own ^ now.likely[row])
        # of a set that nothing is said against, its own
        shown_of = changed if len(changed) else np.flatnonzero(own)
        return [self.classes[place] for place in shown_of[:2]]

    def chips(self, now: Any, row: int, most: int) -> list[dict[str, Any]]:
        """The classes of a card, those of the set and what is offered first, then the likeliest.

        Returns:
            name, p, given, offered, and on: whether the class is in the offered set.
        """
        given, suggested = self.scanned.given[row], now.likely[row]
        probs = np.asarray(now.probs[row], dtype=float)
        # lexsort takes the most important key last
        order = np.lexsort((-probs, ~(given | suggested)))[:CHIPS]
        chips = []
        for place in order.tolist():
            chips.append(
                {
                    "name": self.classes[place],
                    "p": float(probs[place]),
                    "given": bool(given[place]),
                    "on": bool(suggested[place]),
                }
            )
        return chips

    def changes(self, given: int, offered: int) -> tuple[list[str], list[str]]:
        """Classes that an offered set has beside the given one, and those that it has not."""
        if offered < 0:
            return [], []
        before, after = self.labels_of(given), self.labels_of(offered)
        added = [name for name in after if name not in before]
        return added, [name for name in before if name not in after]

    def labels_of(self, code: int) -> list[str]:
        """The classes of a set."""
        return read_set(self._texts[code])
