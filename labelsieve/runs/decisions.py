"""What people decided about labels: an append-only history in `decisions.sqlite` of the run folder.

One row per decision; nothing is changed or deleted, an undo is a row of its own. A row is on
disk before `add` returns (write-ahead log, full synchronisation), so killing any process loses
nothing. Several processes may write at once. Every row carries a checksum over itself and the
row before, so that a damaged file is named instead of giving other decisions.

Verdicts: keep (the given label is right), accept (the suggested one is), other (a third one, in
`label`), none (the picture belongs to no class), wrong (the label is wrong, the right one is not
known), skip, undo.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import pyarrow as pa

from labelsieve.errors import OptionError, unknown
from labelsieve.runs._decisions_file import NAMING as NAMING
from labelsieve.runs._decisions_file import (
    SCHEMA,
    add_digests,
    columns_of,
    create_private,
    holds,
    refuse_empty,
    refuse_links,
    timestamp,
    unusable,
)
from labelsieve.runs._decisions_file import SETTLED as SETTLED
from labelsieve.runs._decisions_file import VERDICTS as VERDICTS
from labelsieve.runs._decisions_file import WRONG as WRONG
from labelsieve.runs._decisions_file import Answer as Answer
from labelsieve.runs._decisions_file import Conflict as Conflict
from labelsieve.runs._decisions_file import Decision as Decision
from labelsieve.runs._decisions_file import by_whom as by_whom
from labelsieve.runs._decisions_file import person_of as person_of
from labelsieve.runs._decisions_file import window_of as window_of
from labelsieve.runs.run import Run
from labelsieve.sqlite import transaction
from labelsieve.tables import DECISIONS

NAME = "decisions.sqlite"
WAIT = 60  # seconds for another process to end its transaction; one takes milliseconds
COLUMNS = "seq, sample_id, verdict, label, by, at, batch, undoes, digest"
INSERT = f"INSERT INTO decisions ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
SELECT = f"SELECT {COLUMNS} FROM decisions WHERE seq > ? ORDER BY seq"
# AUTOINCREMENT remembers the last number it gave, so rows lost from the end are noticed
SEQUENCE = "SELECT seq FROM sqlite_sequence WHERE name = 'decisions'"


class Decisions:
    """The decisions about one run. Safe to use from several threads.

    Args:
        read_only: nothing is written, neither decisions nor the layout of this version; the
            file must be there.

    Raises:
        RunError: the file is no database of decisions, is damaged, or is a link; so do all
            methods.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._path = folder / NAME
        self._read_only = read_only
        # reentrant: writing reads first
        self._lock = threading.RLock()
        # sample id -> decisions that are not undone, latest last
        self._stacks: dict[str, list[Decision]] = {}
        self._rows: dict[int, Decision] = {}
        self._undone: set[int] = set()
        self._last = 0
        self._digest = ""  # of the last row
        refuse_links(self._path)
        refuse_empty(self._path)
        with self._naming_file():
            if not read_only:
                create_private(self._path)
            self._db = sqlite3.connect(
                self._path, timeout=WAIT, check_same_thread=False, isolation_level=None
            )
            self._open()

    def _open(self) -> None:
        if self._read_only:
            self._db.execute("PRAGMA query_only=ON")
        else:
            # readers and one writer do not wait for each other
            self._db.execute("PRAGMA journal_mode=WAL")
            # on disk before COMMIT returns: a decision survives a power cut
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(SCHEMA)
        # pages and their order; takes milliseconds for 100,000 decisions
        (health,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(health)
        if not self._read_only:
            add_digests(self._db)
        self._refresh()

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        """Turn what SQLite says into an error that names the file."""
        try:
            yield
        # SQLite's words may quote damaged bytes, which are no text
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise unusable(self._path, error) from error

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
            seen: the latest decision about this image that the decider knew of (0: none);
                None accepts whatever it is.

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

    def add_many(self, rows: Iterable[Answer], *, by: str, batch: str) -> list[Answer]:
        """Write decisions that one person takes at once, in one transaction.

        Args:
            batch: what they have in common, for `undo`.

        Returns:
            The answers that were not written, as somebody else decided about their images
            since they were shown. All others are on disk.

        Raises:
            OptionError: as `add`; then nothing was written.
        """
        refused = []
        with self._writing():
            for answer in rows:
                now = self.current(answer.sample_id)
                if (now.seq if now else 0) != answer.seen:
                    refused.append(answer)
                    continue
                self._insert(answer.sample_id, answer.verdict, answer.label, by, batch)
        return refused

    def since(self, seq: int) -> tuple[int, dict[str, Decision | None]]:
        """What changed after row `seq`, by anybody.

        Returns:
            Number of the latest row, and what holds now for the images that were decided about
            (None: everything about it was undone).
        """
        with self._reading():
            # numbers follow each other without gaps
            touched = {self._rows[n].sample_id for n in range(seq + 1, self._last + 1)}
            return self._last, {i: self.current(i) for i in touched}

    def last_was_skip(self, sample_id: str) -> bool:
        """Whether an image was skipped last, whatever was said about it before."""
        stack = self._stacks.get(sample_id)
        return bool(stack and stack[-1].verdict == "skip")

    def add_all(
        self, rows: Iterable[tuple[str, str, str | None]], *, by: str, batch: str
    ) -> int:
        """Write decisions about images that nobody settled yet, all or none.

        Args:
            rows: (sample_id, verdict, label).
            batch: what they have in common, for `undo`.

        Returns:
            How many were written.
        """
        count = 0
        with self._writing():
            for sample_id, verdict, label in rows:
                now = self.current(sample_id)
                # what somebody settled one by one outweighs a bulk decision
                if now is None or now.verdict not in SETTLED:
                    self._insert(sample_id, verdict, label, by, batch)
                    count += 1
        return count

    def undo(self, by: str) -> list[Decision]:
        """Take back the latest decision of `by`, with all of its batch.

        Returns:
            What was undone.
        """
        with self._writing():
            undone = self._latest_of(by)
            for decision in undone:
                self._take_back(decision, by)
        return undone

    def _latest_of(self, by: str) -> list[Decision]:
        """The latest decision of `by` that is not undone, with all of its batch."""
        # a name may have been given to the window since
        window = window_of(by)
        last = None
        batch = []
        # backwards: a window's latest decision is among the latest of all
        for decision in reversed(self._rows.values()):
            if window_of(decision.by) != window or not self._is_open(decision):
                continue
            if last is None:
                last = decision
            elif last.batch is None or decision.batch != last.batch:
                break
            batch.append(decision)
        return batch[::-1]

    def _is_open(self, decision: Decision) -> bool:
        """Whether a row is a decision that can be undone."""
        return decision.undoes is None and decision.seq not in self._undone

    def undo_one(self, seq: int, by: str) -> Decision | None:
        """Take back one decision, whoever took it.

        Returns:
            The decision; None when it is not there or undone already.
        """
        with self._writing():
            decision = self._rows.get(seq)
            if decision is None or not self._is_open(decision):
                return None
            self._take_back(decision, by)
        return decision

    def current(self, sample_id: str) -> Decision | None:
        """What holds for an image."""
        stack = self._stacks.get(sample_id)
        return holds(stack) if stack else None

    def all_current(self) -> dict[str, Decision]:
        """What holds, by sample id; other processes' decisions included."""
        with self._reading():
            return {i: holds(stack) for i, stack in self._stacks.items() if stack}

    def history(self, count: int = 100) -> list[tuple[Decision, bool]]:
        """The latest rows, newest first, and whether each can be undone."""
        with self._reading():
            latest = sorted(self._rows.values(), key=lambda d: -d.seq)[:count]
            return [(d, self._is_open(d)) for d in latest]

    def table(self) -> pa.Table:
        """What holds, one row per image, by sample id."""
        rows = []
        for _, decision in sorted(self.all_current().items()):
            rows.append({name: getattr(decision, name) for name in DECISIONS.names})
        return pa.Table.from_pylist(rows, schema=DECISIONS)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is read in the block includes what other processes wrote before."""
        with self._lock, self._naming_file():
            self._refresh()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: it sees what others wrote, and is on disk when the block ends."""
        with self._lock, self._naming_file():
            try:
                with transaction(self._db):
                    self._refresh()
                    yield
            except BaseException:
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
        named = label if verdict in NAMING else None
        if verdict in NAMING and not named:
            raise OptionError(
                f"Verdict '{verdict}' needs the right label.", "Give the class."
            )
        number = self._last + 1
        self._write(Decision(number, sample_id, verdict, named, by, timestamp(), batch))

    def _take_back(self, decision: Decision, by: str) -> None:
        number = self._last + 1
        self._write(
            Decision(
                number,
                decision.sample_id,
                "undo",
                None,
                by,
                timestamp(),
                None,
                decision.seq,
            )
        )

    def _write(self, decision: Decision) -> None:
        digest = decision.digest(self._digest)
        self._db.execute(INSERT, (*astuple(decision), digest))
        self._take_in(decision, digest)

    def _refresh(self) -> None:
        """Take in rows that were written since, by this process or another."""
        select = SELECT
        if self._read_only:
            columns = columns_of(self._db)
            # a review that was killed at once left a database without a table
            if not columns:
                return
            if "digest" not in columns:
                select = SELECT.replace("digest", "NULL")
        # before the rows: another process may add some between the two queries
        (number,) = self._db.execute(SEQUENCE).fetchone() or (0,)
        if not isinstance(number, int):
            raise sqlite3.DatabaseError("the number of its last row is damaged")
        for *values, digest in self._db.execute(select, (self._last,)).fetchall():
            decision = Decision(*values)
            # rows of earlier versions have no checksum, and anybody can write one
            is_damaged = digest is not None and digest != decision.digest(self._digest)
            if is_damaged or not decision.is_one():
                raise sqlite3.DatabaseError(f"row {decision.seq} is damaged")
            self._take_in(decision, digest or "")
        if number > self._last:
            raise sqlite3.DatabaseError("its last rows are lost")

    def _take_in(self, decision: Decision, digest: str) -> None:
        self._rows[decision.seq] = decision
        self._last = decision.seq
        self._digest = digest
        stack = self._stacks.setdefault(decision.sample_id, [])
        if decision.undoes is None:
            stack.append(decision)
        else:
            # an undo of an undo is not offered, so one set says it all
            self._undone.add(decision.undoes)
            left = [d for d in stack if d.seq != decision.undoes]
            self._stacks[decision.sample_id] = left

    def _forget(self) -> None:
        """Read everything again after a transaction that came to nothing."""
        self._stacks = {}
        self._rows = {}
        self._undone = set()
        self._last = 0
        self._digest = ""
        self._refresh()


def open_decisions(opened: Run) -> Decisions | None:
    """The decisions about a run, to read; None when nobody decided anything.

    Raises:
        RunError: the file is damaged, or is a link.
    """
    path = opened.folder / NAME
    refuse_links(path)
    if not path.exists():
        return None
    return Decisions(opened.folder, read_only=True)
