"""Small pictures on the disk: whole or not at all, and never in the way."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelsieve.runs.items._kept import Kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shown" / "pictures.sqlite"


@pytest.fixture
def kept(file: Path) -> Iterator[Kept]:
    opened = Kept(file, 1000)
    yield opened
    opened.close()


def test_what_was_kept_is_there_for_the_next_review_and_private(
    kept: Kept, file: Path
) -> None:
    kept.put("a", b"picture")
    assert kept.get("a") == b"picture" and kept.get("b") is None
    kept.close()
    again = Kept(file, 1000)
    assert again.get("a") == b"picture"
    again.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_oldest_go_first(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    day = 0
    monkeypatch.setattr("labelsieve.runs.items._kept._today", lambda: day)
    for name in "abcd":
        day += 1
        kept.put(name, bytes(240))
    day += 1
    assert kept.get("a")  # wanted today
    kept.put("e", bytes(240))
    there = [name for name in "abcde" if kept.get(name)]
    assert there == ["a", "d", "e"]
    kept.put("huge", bytes(1001))
    assert kept.get("huge") is None and kept.get("a")


@pytest.mark.parametrize(
    "damage", ["data = x'00'", "sum = NULL", "data = NULL", "data = 7"]
)
def test_a_changed_picture_is_not_shown(kept: Kept, file: Path, damage: str) -> None:
    kept.put("a", b"picture")
    kept.put("b", b"another")
    with sqlite3.connect(file) as other:
        other.execute(f"UPDATE pictures SET {damage} WHERE key = 'a'")
    other.close()
    assert kept.get("a") is None
    kept.put("a", b"picture")
    assert kept.get("a") == b"picture"


def test_another_ones_picture_is_not_shown(kept: Kept, file: Path) -> None:
    kept.put("a", b"picture")
    with sqlite3.connect(file) as other:
        other.execute("UPDATE pictures SET key = 'b'")
    other.close()
    assert kept.get("b") is None


def test_a_file_that_another_process_has_locked_stays(kept: Kept, file: Path) -> None:
    kept.put("key", b"picture")
    kept.close()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    late = Kept(file)
    assert late.get("key") is None
    late.put("key", b"another")
    other.execute("COMMIT")
    other.close()
    late.close()
    again = Kept(file)
    assert again.get("key") == b"picture"
    again.close()


def test_a_file_of_anything_else_is_replaced_and_a_link_is_left_alone(
    file: Path, tmp_path: Path
) -> None:
    file.parent.mkdir()
    file.write_bytes(bytes(range(256)) * 40)
    kept = Kept(file, 1000)
    kept.put("a", b"picture")
    assert kept.get("a") == b"picture"
    kept.close()
    file.unlink()
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    file.symlink_to(precious)
    kept = Kept(file, 1000)
    kept.put("a", b"picture")
    assert kept.get("a") is None and precious.read_bytes() == b"mine"
    kept.close()
