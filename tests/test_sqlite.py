"""A full disk, a lock or missing rights are no damage of a SQLite file."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from labelsieve.data.pixel_cache import New, PixelCache
from labelsieve.errors import DataError, RunError
from labelsieve.runs.decisions import Decisions
from labelsieve.sqlite import is_in_the_way, transaction


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file grows beyond some pages, as with a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    database = opened(tmp_path / "file")
    database.execute("CREATE TABLE words (word TEXT)")
    with transaction(database):
        database.execute("INSERT INTO words VALUES ('kept')")
    with pytest.raises(KeyboardInterrupt), transaction(database):
        database.execute("INSERT INTO words VALUES ('lost')")
        raise KeyboardInterrupt
    assert database.execute("SELECT word FROM words").fetchall() == [("kept",)]


def test_a_lock_is_in_the_way_and_garbage_is_damage(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "file"), opened(tmp_path / "file")
    with transaction(first), pytest.raises(sqlite3.Error) as told, transaction(second):
        pass
    assert is_in_the_way(told.value)
    (tmp_path / "garbage").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.Error) as told:
        opened(tmp_path / "garbage").execute("SELECT * FROM sqlite_master")
    assert not is_in_the_way(told.value)
    assert not is_in_the_way(OSError(5, "Input/output error"))


@pytest.mark.parametrize("name", ["WRITE", "FSYNC", "SHMSIZE", "SHMMAP", "CLOSE"])
def test_what_cannot_be_written_is_in_the_way(name: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_IOERR_{name}")
    assert is_in_the_way(error)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHORT_READ
    assert not is_in_the_way(error)


def test_a_transaction_that_finds_no_room_says_so(
    tmp_path: Path, no_room: None
) -> None:
    database = opened(tmp_path / "file")
    database.execute("CREATE TABLE words (word TEXT)")
    # the reason, and not that there is nothing to roll back any more
    with pytest.raises(sqlite3.Error) as told, transaction(database):
        database.execute("INSERT INTO words VALUES (?)", ("x" * 100_000,))
    assert is_in_the_way(told.value)


def test_decisions_that_find_no_room_are_not_called_damaged(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    decisions = Decisions(tmp_path)
    said = [decisions.add("first", "keep")]
    request.getfixturevalue("no_room")
    with pytest.raises(RunError, match="What it holds is sound") as told:
        for number in range(100):
            said.append(decisions.add(f"{number}" * 100, "keep"))
    assert "move it away" not in str(told.value)
    # what was taken is kept, and nothing of what was refused
    assert decisions.table().num_rows == len(said) < 100
    decisions.close()


def test_a_cache_that_finds_no_room_names_another_place(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "cache"
    cache = PixelCache(folder, 4, 4)
    request.getfixturevalue("no_room")
    rows = [New(f"{n}" * 64, np.zeros((4, 4, 3), "u1"), "x" * 999) for n in range(99)]
    with pytest.raises(DataError, match="LABELSIEVE_CACHE"):
        cache.add(rows, [])
    # not removed as damaged: other processes use it
    assert (folder / "index.sqlite").exists()
    cache.close()
