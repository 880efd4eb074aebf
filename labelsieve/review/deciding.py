"""Writing what people decide, and learning from it; on disk before a call returns."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from labelsieve.errors import LabelsieveError, OptionError, RunError
from labelsieve.review.filters import Filters
from labelsieve.review.queue import Suspects
from labelsieve.review.shown import in_words
from labelsieve.runs.decisions import Answer, Conflict, by_whom, person_of

# a page that was opened before an update, or a script
NOT_SHOWN = "Nothing was suggested there, or the page does not say what it showed."
RELOAD = "Reload the page, or name the class."
AUDIT_VERDICTS = ("keep", "wrong", "other", "skip")


# Learning from an answer takes half a second of a processor with a million images, so that it
# would slow down the pages: it rests in between, and then learns from all that came in.
LEARNING = 0.1  # of the time, at most
UNNOTICED = (
    0.05  # seconds of learning that need no rest: the page agrees with every answer
)
FEW = 5_000  # of fewer images learning is so quick, as far as nobody measured it


def rest_after(spent: float) -> float:
    """Seconds until the next learning, after one that took a processor so many seconds."""
    return 0.0 if spent <= UNNOTICED else spent * (1 / LEARNING - 1)


class NotInRun(LabelsieveError):
    """What was asked for is not in the run under review."""


class Changed(LabelsieveError):
    """Somebody decided since a person confirmed what would be done."""


class Deciding:
    """The answers to one run. Safe to use from several threads.

    Args:
        background: learn from answers in a thread of its own, so that none waits for it.
    """

    def __init__(self, suspects: Suspects, *, background: bool = True) -> None:
        self.suspects = suspects
        self.decisions = suspects.decisions
        self._background = background
        self._learning = threading.Lock()
        # then the page that follows an answer knows of it, as every other page and the report do
        self._at_once = len(suspects.columns) < FEW
        self._due = threading.Event()

    # --- one image

    def decide(
        self,
        sample_id: str,
        verdict: str,
        label: str,
        window: str,
        seen: int,
        person: str = "",
    ) -> str:
        """Write one decision.

        Args:
            label: the class, as the window showed it; of accept and other alone.
            seen: number of the latest decision about the image that the window knows of.

        Returns:
            A notice when somebody else was faster, else nothing.

        Raises:
            NotInRun: no such image.
            OptionError: no such verdict or class, or a suggestion that was not shown is accepted.
        """
        verdict, named = self._meant(self.row(sample_id), verdict, label)
        return self._write(
            Answer(sample_id, verdict, named, seen), by_whom(window, person)
        )

    def _meant(self, row: int, verdict: str, label: str) -> tuple[str, str | None]:
        """Verdict and label of an answer about a row."""
        columns = self.suspects.columns
        if verdict not in ("accept", "other"):
            return verdict, label or None
        # what is suggested changes while others answer: a person accepts what the page showed
        if verdict == "accept" and not label:
            raise OptionError(NOT_SHOWN, RELOAD)
        code = columns.code(label)
        if code < 0:
            raise OptionError(f"'{label}' is not a class of this data set.")
        # whatever key was pressed: naming the given label says that it is right
        if code == columns.given[row]:
            return "keep", None
        # as it is written down, however it was named
        return verdict, columns.text(code)

    def _write(self, answer: Answer, by: str) -> str:
        try:
            self.decisions.add(
                answer.sample_id, answer.verdict, answer.label, by=by, seen=answer.seen
            )
        except Conflict as conflict:
            return _too_late(conflict)
        self.learn()
        return ""

    def undo(self, window: str) -> tuple[list[int], str]:
        """Take back the latest decision of a window.

        Returns:
            Rows of the images that it was about, and what was done in words.
        """
        undone = self.decisions.undo(window)
        self.learn()
        rows = self.suspects.columns.rows_of([d.sample_id for d in undone])
        if not undone:
            return [], "Nothing to undo in this window."
        count = "1 decision" if len(undone) == 1 else f"{len(undone)} decisions"
        return rows.tolist(), f"{count} undone."

    def row(self, sample_id: str) -> int:
        """Row of an image.

        Raises:
            NotInRun: there is none.
        """
        row = self.suspects.columns.at.get(sample_id)
        if row is None:
            raise NotInRun("No such image in this run.")
        return row

    def answer(
        self,
        sample_id: str,
        answer: tuple[str, str],
        window: str,
        person: str = "",
        *,
        second: bool = False,
    ) -> str:
        """Write one answer of the audit; returns and raises as `decide`.

        Args:
            answer: verdict and label.
            second: somebody else answered before, and both answers are kept.
        """
        if answer[0] not in AUDIT_VERDICTS:
            raise OptionError("An audit is answered with keep, wrong, other or skip.")
        verdict, label = self._meant(self.row(sample_id), *answer)
        # 0: an image that was decided meanwhile is no fresh answer
        seen = 0
        if second:
            now = self.decisions.current(sample_id)
            seen = now.seq if now else 0
        return self._write(
            Answer(sample_id, verdict, label, seen), by_whom(window, person)
        )

    # --- many images

    def decide_many(
        self,
        rows: Sequence[int],
        seen: Sequence[int],
        answer: tuple[str, str | Sequence[str]],
        window: str,
        person: str = "",
    ) -> dict[str, Any]:
        """Write one answer about many images, in one transaction.

        Args:
            seen: for each, number of the latest decision that the window knows of.
            answer: verdict and label, as of `decide`; one label for all, or one for each.

        Returns:
            How many were written, and for how many somebody else was faster.

        Raises:
            OptionError: no such verdict, class or row; nothing was written.
        """
        columns = self.suspects.columns
        if len(rows) != len(seen):
            raise OptionError(
                f"{len(rows)} images and {len(seen)} numbers of decisions."
            )
        verdict, label = answer
        labels = [label] * len(rows) if isinstance(label, str) else label
        if len(labels) != len(rows):
            raise OptionError(f"{len(rows)} images and {len(labels)} labels.")
        answers = []
        for row, number, one in zip(rows, seen, labels, strict=True):
            if not 0 <= row < len(columns):
                raise OptionError(f"There is no image {row}.")
            meant, named = self._meant(row, verdict, one)
            answers.append(Answer(columns.sample_id(row), meant, named, number))
        by = by_whom(window, person)
        refused = self.decisions.add_many(answers, by=by, batch=secrets.token_hex(8))
        self.learn()
        return {"written": len(answers) - len(refused), "refused": len(refused)}

    def decide_all(
        self,
        filters: Filters,
        count: int,
        answer: tuple[str, str],
        window: str,
        person: str = "",
        *,
        suggestions: str = "",
    ) -> dict[str, Any]:
        """Write one answer about everything that passes the filters; as `decide_many`.

        Args:
            suggestions: of accept, which ones the window showed: `Suspects.offers` tells.

        Raises:
            Changed: these are not the `count` images any more that a person confirmed, or other
                labels are suggested.
        """
        rows = self.suspects.rows(filters)
        # a person confirms what was on the screen, and nothing else
        if len(rows) != count:
            raise Changed(
                f"These are {len(rows)} images now, not {count}: somebody decided meanwhile.",
                "Nothing was written. Look again.",
            )
        labels: str | list[str] = answer[1]
        if answer[0] == "accept":
            rows, labels = self._suggested(rows, suggestions)
        seen = self.suspects.seen[rows].tolist()
        return self.decide_many(
            rows.tolist(), seen, (answer[0], labels), window, person
        )

    def _suggested(self, rows: np.ndarray, shown: str) -> tuple[np.ndarray, list[str]]:
        """Those of some rows that have a suggestion, and it, where it is what a window showed."""
        offered, digest = self.suspects.offers(rows)
        if not shown:
            raise OptionError(NOT_SHOWN, RELOAD)
        if shown != digest:
            raise Changed(
                "Other labels are suggested now: answers came in meanwhile.",
                "Nothing was written. Look again.",
            )
        has = offered >= 0
        texts = [self.suspects.columns.text(code) for code in offered[has].tolist()]
        return rows[has], texts

    def undo_one(self, seq: int, window: str, person: str = "") -> None:
        """Take back one decision of the history."""
        self.decisions.undo_one(seq, by_whom(window, person))
        self.learn()

    # --- learning from decisions

    def learn(self) -> None:
        """Bring the posterior up to what was decided."""
        if not self._background:
            self.suspects.take_in()
            self.suspects.refine()
            return
        self._due.set()
        # one thread at a time: it goes on while answers come in
        if not self._learning.acquire(timeout=UNNOTICED if self._at_once else 0):
            return
        if self._at_once:
            self._learn(waits=False)
        else:
            threading.Thread(target=self._learn, daemon=True).start()

    def _learn(self, waits: bool = True) -> None:
        """Learn while answers come in.

        Args:
            waits: rest in between; an answer that was given at once does not wait for that.
        """
        try:
            while self._due.is_set():
                self._due.clear()
                before = time.thread_time()
                self.suspects.refine()
                spent = time.thread_time() - before
                self._at_once = spent <= UNNOTICED
                time.sleep(rest_after(spent) if waits else 0)
        # the disk is full or the file damaged: the next decision says so to a person
        except RunError:
            pass
        finally:
            self._learning.release()
        # an answer that came in before the lock was free has started no thread
        if self._due.is_set():
            self.learn()


def _too_late(conflict: Conflict) -> str:
    now = conflict.now
    person = (person_of(now.by) if now else "") or "Another window"
    return f"{person} decided about this image meanwhile: {in_words(now) or 'undone'}."
