"""What people decided about labels: an append-only history in `decisions.sqlite` of the run folder.

One row per decision; nothing is changed or deleted, an undo is a row of its own. A row is on disk before `add` returns
(write-ahead log, full synchronisation), so killing any process loses nothing. Several processes may write at once.

Verdicts: keep (the given label is right), accept (the suggested one is), other (a third one, in `label`), none (the
picture belongs to no class), wrong (the label is wrong, the right one is not known), skip, undo.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from labelsieve.errors import OptionError, RunError, unknown
from labelsieve.runs.run import Run
from labelsieve.tables import DECISIONS

VERDICTS = ("keep", "accept", "other", "none", "wrong", "skip")
WRONG = (
    "accept",
    "other",
    "none",
    "wrong",
)  # verdicts that say: the given label is wrong
SETTLED = ("keep", "accept", "other", "none")  # verdicts that say what the label is
NAME = "decisions.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sample_id TEXT NOT NULL, verdict TEXT NOT NULL, label TEXT,
    by TEXT NOT NULL, at TEXT NOT NULL, batch TEXT, undoes INTEGER UNIQUE REFERENCES decisions);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the history."""

    seq: int
    sample_id: str
    verdict: str
    label: str | None  # the label that is right, where it is known
    by: str
    at: str
    batch: str | None  # decisions made, and undone, together
    undoes: int | None = None


class Conflict(OptionError):
    """Somebody else decided about the image since it was shown; `now` is what holds."""

    def __init__(self, now: Decision | None) -> None:
        super().__init__(
            "Another window decided about this image meanwhile.",
            "Look again and decide again.",
        )
        self.now = now


class Decisions:
    """The decisions about one run. Safe to use from several threads.

    Raises:
        RunError: the file is no database of decisions.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.RLock()
        self._stacks: dict[
            str, list[Decision]
        ] = {}  # sample id -> decisions that are not undone, latest last
        self._rows: dict[int, Decision] = {}
        self._undone: set[int] = set()
        self._last = 0
        try:
            self._db = sqlite3.connect(
                self._path, timeout=60, check_same_thread=False, isolation_level=None
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
            self._refresh()
        except sqlite3.DatabaseError as error:
            raise RunError(
                f"'{self._path}' cannot be used: {error}.",
                "Move it away to begin anew.",
            ) from error

    def close(self) -> None:
        self._db.close()

    def add(
        self,
        sample_id: str,
        verdict: str,
        label: str | None = None,
        *,
        by: str = "script",
        seen: int | None = None,
    ) -> Decision:
        """Write one decision to disk.

        Args:
            label: the right label, for accept and other.
            by: who decides: a window, a script.
            seen: the latest decision about this image that the decider knew of (0: none); None does not ask.

        Raises:
            Conflict: somebody else decided since.
            OptionError: an unknown verdict, or one that needs a label and has none.
        """
        with self._writing():
            if seen is not None:
                now = self.current(sample_id)
                if (now.seq if now else 0) != seen:
                    raise Conflict(now)
            self._insert(sample_id, verdict, label, by, None)
        return self._rows[self._last]

    def add_all(
        self, rows: Iterable[tuple[str, str, str | None]], *, by: str, batch: str
    ) -> int:
        """Write decisions (sample_id, verdict, label) about images that nobody settled yet, all or none; gives how many."""
        count = 0
        with self._writing():
            for sample_id, verdict, label in rows:
                now = self.current(sample_id)
                if now is None or now.verdict not in SETTLED:
                    self._insert(sample_id, verdict, label, by, batch)
                    count += 1
        return count

    def undo(self, by: str) -> list[Decision]:
        """Take back the latest decision of `by`, with all of its batch; gives what was undone."""
        with self._writing():
            mine = [
                d
                for d in self._rows.values()
                if d.by == by and d.undoes is None and d.seq not in self._undone
            ]
            if not mine:
                return []
            last = max(mine, key=lambda d: d.seq)
            undone = (
                [d for d in mine if d.batch == last.batch] if last.batch else [last]
            )
            for decision in undone:
                self._write(decision.sample_id, "undo", None, by, None, decision.seq)
        return undone

    def undo_one(self, seq: int, by: str) -> Decision | None:
        """Take back one decision, whoever made it; None when it is not there or undone already."""
        with self._writing():
            decision = self._rows.get(seq)
            if decision is None or decision.undoes is not None or seq in self._undone:
                return None
            self._write(decision.sample_id, "undo", None, by, None, seq)
        return decision

    def current(self, sample_id: str) -> Decision | None:
        """What holds for an image."""
        stack = self._stacks.get(sample_id)
        return _holds(stack) if stack else None

    def all_current(self) -> dict[str, Decision]:
        """What holds, by sample id; other processes' decisions included."""
        with self._lock:
            self._refresh()
            return {i: _holds(stack) for i, stack in self._stacks.items() if stack}

    def skipped(self) -> set[str]:
        """Images that were skipped last."""
        with self._lock:
            self._refresh()
            return {
                i
                for i, stack in self._stacks.items()
                if stack and stack[-1].verdict == "skip"
            }

    def history(self, count: int = 100) -> list[tuple[Decision, bool]]:
        """The latest rows, newest first, and whether each can be undone."""
        with self._lock:
            self._refresh()
            latest = sorted(self._rows.values(), key=lambda d: -d.seq)[:count]
            return [(d, d.undoes is None and d.seq not in self._undone) for d in latest]

    def table(self) -> pa.Table:
        """What holds, one row per image, by sample id."""
        rows = sorted(self.all_current().values(), key=lambda d: d.sample_id)
        return pa.Table.from_pylist(
            [{name: getattr(d, name) for name in DECISIONS.names} for d in rows],
            schema=DECISIONS,
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: it sees what others wrote before, and is on disk when the block ends."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._refresh()
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                self._forget()
                raise

    def _insert(
        self,
        sample_id: str,
        verdict: str,
        label: str | None,
        by: str,
        batch: str | None,
    ) -> None:
        if verdict not in VERDICTS:
            raise OptionError(unknown("Verdict", verdict, VERDICTS))
        if verdict in ("accept", "other") and not label:
            raise OptionError(
                f"Verdict '{verdict}' needs the right label.", "Give the class."
            )
        self._write(
            sample_id,
            verdict,
            label if verdict in ("accept", "other") else None,
            by,
            batch,
            None,
        )

    def _write(
        self,
        sample_id: str,
        verdict: str,
        label: str | None,
        by: str,
        batch: str | None,
        undoes: int | None,
    ) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self._db.execute(
            "INSERT INTO decisions (sample_id, verdict, label, by, at, batch, undoes) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sample_id, verdict, label, by, at, batch, undoes),
        )
        self._refresh()

    def _refresh(self) -> None:
        """Take in rows that were written since, by this process or another."""
        query = "SELECT seq, sample_id, verdict, label, by, at, batch, undoes FROM decisions WHERE seq > ? ORDER BY seq"
        for values in self._db.execute(query, (self._last,)).fetchall():
            decision = Decision(*values)
            self._rows[decision.seq] = decision
            self._last = decision.seq
            stack = self._stacks.setdefault(decision.sample_id, [])
            if decision.undoes is None:
                stack.append(decision)
            else:
                self._undone.add(decision.undoes)
                self._stacks[decision.sample_id] = [
                    d for d in stack if d.seq != decision.undoes
                ]

    def _forget(self) -> None:
        """Read everything again after a transaction that came to nothing."""
        self._stacks, self._rows, self._undone, self._last = {}, {}, set(), 0
        self._refresh()


def _holds(stack: list[Decision]) -> Decision:
    """The latest decision that says something; to skip an image takes nothing back."""
    return next((d for d in reversed(stack) if d.verdict != "skip"), stack[-1])


def open_decisions(opened: Run) -> Decisions | None:
    """The decisions about a run; None when nobody decided anything."""
    return Decisions(opened.folder) if (opened.folder / NAME).exists() else None
