"""The random sample of a run under review: what it asks next, and when the review may stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from labelsieve.audits import design
from labelsieve.audits.stopping import Left, Stop
from labelsieve.audits.watch import State, Watch
from labelsieve.errors import OptionError
from labelsieve.review.queue import Suspects
from labelsieve.runs.run import Run

FEW = 20_000  # images: their audits are read in under a tenth of a second


@dataclass(frozen=True)
class Question:
    """What an audit asks a window.

    Attributes:
        second: somebody else answered already; two answers tell how often people err.
    """

    row: int
    second: bool


class Auditing:
    """The audit of one run. Safe to use from several threads."""

    def __init__(
        self, opened: Run, suspects: Suspects, *, background: bool = False
    ) -> None:
        self._opened = opened
        self._background = background
        self._gain: tuple[np.ndarray, np.ndarray] | None = None
        self._suspects = suspects
        # one window at a time is given its next image
        self._lock = threading.RLock()
        self._ordering = threading.Lock()
        self._reading = threading.Event()

    @cached_property
    def watch(self) -> Watch:
        """The audits, read once: a second for a million images."""
        with self._lock:
            return Watch(self._opened, self._suspects.decisions)

    def ask(self, window: str, person: str = "") -> Question | None:
        """The next image for a window, which is its from now on; None when all is answered."""
        with self._lock:
            columns = self._suspects.columns
            # what other windows show was drawn too, and its answer is on the way
            others = self._suspects.held(window)
            taken = {columns.sample_id(row) for _, rows in others for row in rows}
            sample_id, second = self.watch.next(taken), False
            # without a name nobody knows that it is somebody else who answers again
            if sample_id is None and person:
                sample_id, second = self.watch.again(person, taken), True
            if sample_id is None:
                return None
            row = columns.at[sample_id]
            self._suspects.hold(window, [row], person)
            return Question(row, second)

    def state(self) -> State | None:
        """How far the audit is, and what holds."""
        with self._lock:
            return self.watch.state()

    def stop(self) -> Stop | None:
        """When the review may stop; None while no audit tells."""
        if self._is_silent():
            return None
        state = self.state()
        return state.stop if state else None

    def left(self) -> Left | None:
        """Wrong labels that are left, as a complete audit tells; None where none does."""
        if self._is_silent():
            return None
        with self._lock:
            return self.watch.left()

    def _is_silent(self) -> bool:
        """Whether there is nothing to tell, or not yet."""
        # no page waits for what is read in the background
        if "watch" in self.__dict__:
            return False
        begun = design.version(self._opened) is not None
        # of few images it is read in no time, and the page says from the start what the report says
        if begun and len(self._suspects.columns) < FEW:
            return False
        # begun by another process after this one looked for audits
        if begun and self._background and not self._reading.is_set():
            self._reading.set()
            threading.Thread(target=self.prepare, daemon=True).start()
        return self._background or not begun

    def by_gain(self) -> np.ndarray:
        """[n] rows, those first whose review gains most, in the committed order of audits."""
        # a lock of its own: pages that ask for the state do not wait for the order
        with self._ordering:
            queue = self.watch.queue
            # sorting a million rows takes a tenth of a second: once for each order
            if self._gain is None or self._gain[0] is not queue:
                everything = np.arange(len(self._suspects.columns))
                # an audit may be about a part of the images: the others come last
                rest = np.setdiff1d(everything, queue)
                self._gain = queue, np.concatenate([queue, rest])
            return self._gain[1]

    def prepare(self) -> None:
        """Read the audits, where there are any, so that the pages tell when to stop."""
        if design.current(self._opened) is not None:
            _ = self.watch

    def as_dict(self, window: str, person: str) -> dict[str, Any]:
        """For the template of the audit's page."""
        question, nothing = None, ""
        try:
            question = self.ask(window, person)
        # everything is decided, or the scores are no longer those of the audit
        except OptionError as error:
            nothing = str(error)
        card = None
        if question is not None:
            columns = self._suspects.columns
            card = {
                "row": question.row,
                "second": question.second,
                "sample_id": columns.sample_id(question.row),
                "path": columns.path(question.row),
                "given": columns.name(int(columns.given[question.row])),
            }
        return {"audit": self.state(), "card": card, "nothing": nothing}
