"""What is read back from the cache is what was written, or it is computed anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from labelsieve import cache, progress
from labelsieve.errors import DataError, OptionError

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def notes() -> Iterator[None]:
    progress.be_quiet(False)
    yield
    progress.be_quiet(True)


class Counting:
    """Gives values and counts how often."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return self.values


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype(np.float16),
        np.empty((0, 3), dtype=np.float32),
        np.array(5.0),
        np.asfortranarray(VALUES),
        np.array([True, False]),
    ],
)
def test_an_array_is_computed_once(tmp_path: Path, values: np.ndarray) -> None:
    compute = Counting(values)
    for _ in range(3):
        read = cache.cached_array(tmp_path / "new" / "a.npy", compute)
        assert read.dtype == values.dtype and np.array_equal(read, values)
        assert not read.flags.writeable
    assert compute.calls == 1


def test_a_flipped_bit_anywhere_is_noticed(
    tmp_path: Path, notes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npy"
    cache.write_array(path, VALUES)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        replace(path, bytes(damaged))
        compute = Counting(VALUES)
        assert np.array_equal(cache.cached_array(path, compute), VALUES)
        assert compute.calls == 1
        assert capsys.readouterr().err == (
            "'a.npy' in the cache is damaged and is computed anew.\n"
        )
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:20],
        lambda whole: whole[:-1],
        lambda whole: whole[: -cache.DIGEST],  # of a version without digest
        lambda whole: whole + b"\0",
    ],
)
def test_a_file_of_another_length_is_noticed(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "a.npy"
    cache.write_array(path, VALUES)
    replace(path, damage(path.read_bytes()))
    compute = Counting(VALUES)
    assert np.array_equal(cache.cached_array(path, compute), VALUES)
    assert compute.calls == 1


def test_an_array_of_an_earlier_version_is_not_called_damaged(
    tmp_path: Path, notes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    assert cache.read_array(tmp_path / "a.npy", then="not used") is None
    assert capsys.readouterr().err == (
        "'a.npy' in the cache is of an earlier version and is not used.\n"
    )


@pytest.mark.parametrize("kind", ["empty folder", "folder", "pipe", "link"])
def test_what_is_no_file_is_no_obstacle(
    kind: str, tmp_path: Path, notes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.npy"
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes")
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
        if kind == "folder":
            (path / "b").touch()
    assert np.array_equal(cache.cached_array(path, Counting(VALUES)), VALUES)
    said = "'a.npy' in the cache is not a file and is computed anew.\n"
    assert capsys.readouterr().err == ("" if kind == "link" else said)
    assert np.array_equal(cache.cached_array(path, Counting(VALUES)), VALUES)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    cache.seal(path)
    assert cache.read_array(path) is None


def replace(path: Path, content: bytes) -> None:
    """Put other bytes there, as another file: that is how damage is told within a process."""
    path.unlink()
    path.write_bytes(content)


def test_where_nothing_can_be_kept_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="Set LABELSIEVE_CACHE to another folder"):
        cache.cache_limit()


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("much", "nan", "-1"):
        monkeypatch.setenv("LABELSIEVE_CACHE_GB", text)
        with pytest.raises(OptionError, match="LABELSIEVE_CACHE_GB"):
            cache.cache_limit()


def test_what_is_used_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    assert cache.used() == cache.clear() == 0
    cache.write_array(tmp_path / "cache" / "features" / "a.npy", VALUES)
    size = (tmp_path / "cache" / "features" / "a.npy").stat().st_size
    assert cache.used() == cache.clear() == size and cache.used() == 0


def test_keys_tell_what_a_value_depends_on_apart() -> None:
    keys = {cache.key_of(*parts) for parts in ((1, 2), (12,), ("1", 2), (1, "2"))}
    assert len(keys) == 4 and all(len(key) == 24 for key in keys)
