"""Fixed shards of rows, given to workers until each is done once: retries, copies, halves.

Nothing here trusts a pool: a task may be lost, done twice, or kill its worker. Each row of a job
is yielded exactly once, or the job ends with an error that names the rows.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from labelsieve import progress
from labelsieve.engines import Outcome, Pool, Task
from labelsieve.engines._parts import Parts
from labelsieve.errors import DataError

DEATHS = 3  # of workers on one shard before its rows are suspected,
SINGLE_DEATHS = 3  # on one row before it is given up
MOST_DEATHS = (
    12  # on a shard that cannot be divided: nodes may be lost, but not so many
)
FAILURES = 3  # errors that a worker told of, such as a full disk, before the job ends
SLOW = 3.0  # times the median of the seconds of others, after which a shard is given out again,
SLOW_SECONDS = 30.0  # but not before so many: start-up is not slowness
COPIES = 2  # of one shard at a time
WAIT = 1.0  # seconds between two looks at what is slow
QUIET = 120.0  # seconds without any news before a line says so


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows that are worked on together.

    Attributes:
        rows: of `labelsieve.engines._work.ROWS`.
        belongs: what the caller wants back with the result.
        deaths, failures: of workers on it so far.
        suspect: whether a row of it may kill whoever reads it.
        ready: nothing is left to do; it only passes through.
    """

    rows: pa.Table
    belongs: Any = None
    deaths: int = 0
    failures: int = 0
    suspect: bool = False
    ready: bool = False

    def words(self) -> str:
        """Which rows, for people."""
        numbers = self.rows["number"]
        first = numbers[0].as_py()
        if len(numbers) == 1:
            return f"row {first:,} ('{self.rows['path'][0].as_py()}')"
        return f"rows {first:,} to {numbers[-1].as_py():,}"


@dataclass
class _Running:
    piece: Piece
    since: float
    copies: int = 1


@dataclass(frozen=True, eq=False)
class Work:
    """One job to be done piece by piece.

    Attributes:
        what: is done, for people, such as "Computing features".
        key: names the job. shared: what its tasks have in common.
        encode: rows -> bytes that a worker understands.
        lost: rows [1] -> the result for a row that nobody survives; None: there can be none.
        divides: whether a piece may be worked on in halves.
        keep: whether results are kept, and taken from where they were kept.
    """

    what: str
    key: str
    shared: bytes
    encode: Callable[[pa.Table], bytes]
    lost: Callable[[pa.Table], bytes | None]
    divides: bool
    keep: bool

    def name(self, rows: bytes) -> str:
        """Of a result: everything that its bytes depend on."""
        return f"{self.key}/{hashlib.sha256(rows).hexdigest()[:24]}"


@dataclass
class Tally:
    """What was done, for a record and for measurements."""

    shards: int = 0
    again: int = 0
    lost: int = 0
    worker_seconds: float = 0.0
    processor_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)


class Shards:
    """The pieces of one job, under way.

    Args:
        pool: gives the workers; called once there is something to do.
    """

    def __init__(
        self, work: Work, pool: Callable[[], Pool], parts: Parts, tally: Tally
    ) -> None:
        self._work = work
        self._pool = pool
        self._parts = parts
        self._tally = tally
        self._waiting: deque[Piece] = deque()
        self._running: dict[str, _Running] = {}
        self._news = time.monotonic()

    def results(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, bytes]]:
        """Every piece, or its halves, with its result; in any order.

        Args:
            pieces: taken when there is room for them, so that they may be a stream.

        Raises:
            DataError: a shard cannot be done.
        """
        coming = iter(pieces)
        more = True
        while more or self._waiting or self._running:
            if more:
                more, kept = self._fill(coming)
                yield from kept
            else:
                self._fill(iter(()))
            if self._running:
                self._copy_slow(more)
                for outcome in self._pool().outcomes(WAIT):
                    yield from self._take(outcome)
                self._tell_silence()

    def _fill(self, coming: Iterator[Piece]) -> tuple[bool, list[tuple[Piece, bytes]]]:
        """Give out pieces while there is room; what was done before needs nobody."""
        while not self._running or len(self._running) < self._pool().size():
            piece = self._waiting.popleft() if self._waiting else next(coming, None)
            if piece is None:
                return False, []
            if piece.ready:
                return True, [(piece, b"")]
            data = self._work.encode(piece.rows)
            name = self._work.name(data)
            result = self._parts.get(name) if self._work.keep else None
            if result is not None:
                # the caller takes it before the next: they would pile up
                return True, [(piece, result)]
            self._running[name] = _Running(piece, time.monotonic())
            self._pool().submit(self._task(name, data, piece))
        return True, []

    def _task(self, name: str, data: bytes, piece: Piece) -> Task:
        words = f"{self._work.what}, {piece.words()}"
        return Task(name, self._work.key, self._work.shared, data, words)

    def _copy_slow(self, more: bool) -> None:
        """Give slow shards to a second worker, once there is nothing else to do."""
        known = self._tally.seconds
        if more or self._waiting or len(known) < 3:
            return
        limit = max(SLOW_SECONDS, SLOW * statistics.median(known))
        for name, running in self._running.items():
            late = time.monotonic() - running.since > limit
            if late and running.copies < COPIES and self._pool().size() > 1:
                self._tell(running.piece, "is slow", "a second worker takes it, too")
                running.copies += 1
                data = self._work.encode(running.piece.rows)
                self._pool().submit(self._task(name, data, running.piece))

    def _take(self, outcome: Outcome) -> Iterator[tuple[Piece, bytes]]:
        self._news = time.monotonic()
        self._tally.worker_seconds += outcome.seconds
        self._tally.processor_seconds += outcome.processor
        running = self._running.get(outcome.name)
        # the second copy of what is done, or news of another job
        if running is None:
            return
        # the other copy may still be done
        if outcome.state != "done" and running.copies > 1:
            running.copies -= 1
            return
        del self._running[outcome.name]
        piece = running.piece
        if outcome.state == "done":
            self._tally.shards += 1
            self._tally.seconds.append(outcome.seconds)
            if self._work.keep:
                self._parts.put(outcome.name, outcome.result)
            yield piece, outcome.result
            return
        self._tally.again += 1
        if outcome.state == "died":
            yield from self._after_death(piece, outcome.reason)
        else:
            self._after_failure(piece, outcome.reason)

    def _after_failure(self, piece: Piece, reason: str) -> None:
        again = replace(piece, failures=piece.failures + 1)
        if again.failures >= FAILURES:
            raise DataError(
                f"{self._work.what}, {piece.words()}: {reason.rstrip('.')}.",
                "What is done is kept: the same command goes on.",
            )
        self._tell(piece, f"failed ({reason.rstrip('.')})", "tried again")
        self._waiting.append(again)

    def _after_death(self, piece: Piece, reason: str) -> Iterator[tuple[Piece, bytes]]:
        again = replace(piece, deaths=piece.deaths + 1)
        if not self._work.divides or (again.deaths < DEATHS and not piece.suspect):
            if again.deaths >= MOST_DEATHS:
                raise DataError(
                    f"{self._work.what}, {piece.words()}: {again.deaths} workers died "
                    f"({reason}).",
                    "With less memory per worker take fewer --workers.",
                )
            self._tell(piece, f"lost its worker ({reason})", "tried again")
            self._waiting.append(again)
        # one of its rows must be at fault, and halves tell which
        elif len(piece.rows) > 1:
            self._tell(piece, "kills its workers", "looked at in halves")
            half = len(piece.rows) // 2
            for part in (piece.rows.slice(0, half), piece.rows.slice(half)):
                self._waiting.append(Piece(part, piece.belongs, suspect=True))
        elif again.deaths < SINGLE_DEATHS:
            self._waiting.append(again)
        else:
            yield self._give_up(piece, reason)

    def _give_up(self, piece: Piece, reason: str) -> tuple[Piece, bytes]:
        result = self._work.lost(piece.rows)
        if result is None:
            raise DataError(
                f"{self._work.what}, {piece.words()}: every worker dies ({reason})."
            )
        self._tally.lost += 1
        self._tell(piece, "kills every worker", "it is left out and listed")
        return piece, result

    def _tell(self, piece: Piece, what: str, then: str) -> None:
        progress.note(f"{self._work.what}: {piece.words()} {what}; {then}.")

    def _tell_silence(self) -> None:
        if time.monotonic() - self._news > QUIET:
            self._news = time.monotonic()
            first = next(iter(self._running.values()), None)
            if first is not None:
                what = f"no news of {len(self._running)} shards for {QUIET:.0f} s"
                progress.note(
                    f"{self._work.what}: {what}, such as {first.piece.words()}."
                )
