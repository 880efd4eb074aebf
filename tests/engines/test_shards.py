"""Shards without any process: lost, late, doubled and damaged answers, in every order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labelsieve.engines import Outcome, Task, _shards, _work
from labelsieve.engines._parts import FolderParts
from labelsieve.engines._shards import Piece, Shards, Tally, Work
from labelsieve.errors import DataError

N = 1_000


def encode(rows: pa.Table) -> bytes:
    return _work.to_bytes(rows.select(["number"]))


def numbers_of(data: bytes) -> list[int]:
    return list(pa.ipc.open_stream(data).read_all()["number"].to_pylist())


def work(*, divides: bool = True, keep: bool = True) -> Work:
    lost = {True: lambda rows: b"lost", False: lambda rows: None}[divides]
    return Work("Counting", "count", b"", encode, lost, divides, keep)


def pieces(size: int = 100) -> Iterator[Piece]:
    for start in range(0, N, size):
        numbers = pa.array(np.arange(start, min(N, start + size)))
        paths = pa.array([f"{n}.png" for n in numbers.to_pylist()])
        yield Piece(pa.table({"number": numbers, "path": paths}))


class Chaos:
    """A pool that loses, kills, fails and repeats what it is given."""

    def __init__(self, seed: int, poison: frozenset[int] = frozenset()) -> None:
        self.chance = random.Random(seed)
        self.poison = poison
        self.tasks: list[Task] = []
        self.given = 0

    def size(self) -> int:
        return 3

    def submit(self, task: Task) -> None:
        self.given += 1
        self.tasks.append(task)

    def outcomes(self, seconds: float) -> list[Outcome]:
        self.chance.shuffle(self.tasks)
        task = self.tasks.pop()
        if self.poison & set(numbers_of(task.rows)) or self.chance.random() < 0.2:
            return [Outcome(task.name, "died", reason="gone")]
        done = Outcome(task.name, "done", task.rows, seconds=1.0)
        # Ray may do a task twice, and then both answer
        return [done, done] if self.chance.random() < 0.2 else [done]

    def close(self) -> None: ...


@pytest.mark.parametrize("seed", range(20))
def test_each_row_comes_back_once_whatever_a_pool_does(
    seed: int, tmp_path: Path
) -> None:
    poison = frozenset(random.Random(seed).sample(range(N), 2))
    pool, tally = Chaos(seed, poison), Tally()
    shards = Shards(work(), lambda: pool, FolderParts(tmp_path), tally)
    back: list[int] = []
    lost: list[int] = []
    for piece, result in shards.results(pieces()):
        rows = piece.rows["number"].to_pylist()
        (lost if result == b"lost" else back).extend(rows)
        assert result == b"lost" or numbers_of(result) == rows
    assert sorted(back + lost) == list(range(N))
    # chance may kill a worker three times on the same row, but hardly ever does
    assert poison <= set(lost) and len(lost) <= len(poison) + 1
    assert tally.lost == len(lost)


def test_what_was_kept_is_not_done_again(tmp_path: Path) -> None:
    parts = FolderParts(tmp_path)
    pool = Chaos(1)
    first = Shards(work(), lambda: pool, parts, Tally()).results(pieces())
    for _ in range(5):
        next(first)
    pool = Chaos(2)
    again = Shards(work(), lambda: pool, parts, Tally())
    assert sum(len(piece.rows) for piece, _ in again.results(pieces())) == N
    # five of ten were kept; of the others some had to be tried again
    assert len(list((tmp_path / "count").iterdir())) == 10
    # a part with another bit is no part
    for file in tmp_path.rglob("*"):
        if file.is_file():
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
    pool = Chaos(3)
    last = Shards(work(), lambda: pool, parts, Tally())
    assert sum(len(piece.rows) for piece, _ in last.results(pieces())) == N
    assert pool.given >= 10


def test_rows_that_belong_together_are_not_divided(tmp_path: Path) -> None:
    pool = Chaos(0, frozenset([123]))
    shards = Shards(work(divides=False), lambda: pool, FolderParts(tmp_path), Tally())
    with pytest.raises(DataError, match=r"rows 100 to 199: 12 workers died \(gone\)"):
        list(shards.results(pieces()))


class Slow(Chaos):
    """The first copy of one shard is never answered."""

    def outcomes(self, seconds: float) -> list[Outcome]:
        for task in self.tasks:
            if 0 not in numbers_of(task.rows) or self.given > 10:
                self.tasks.remove(task)
                return [Outcome(task.name, "done", task.rows, seconds=0.001)]
        return []


def test_a_slow_shard_is_given_to_a_second_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # short, and longer than a busy machine halts a process that is only counting
    monkeypatch.setattr(_shards, "SLOW_SECONDS", 0.5)
    pool = Slow(0)
    shards = Shards(work(), lambda: pool, FolderParts(tmp_path), Tally())
    assert sum(len(piece.rows) for piece, _ in shards.results(pieces())) == N
    assert pool.given == 11
