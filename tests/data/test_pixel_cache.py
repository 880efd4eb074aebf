from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve import progress
from labelsieve.cache import cache_folder, cache_limit, clear, used
from labelsieve.data.pixel_cache import Known, New, PixelCache, Stamp
from labelsieve.errors import DataError, OptionError

H, W = 4, 5


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PixelCache]:
    opened = PixelCache(tmp_path / "cache", H, W)
    yield opened
    opened.close()


def picture(number: int) -> np.ndarray:
    """uint8 [H, W, 3], different for every number."""
    return np.random.default_rng(number).integers(0, 256, (H, W, 3), dtype=np.uint8)


def digest(number: int) -> str:
    return hashlib.sha256(picture(number).tobytes()).hexdigest()


def add(cache: PixelCache, *numbers: int) -> dict[str, int]:
    return cache.add([new(n) for n in numbers], [])


def new(number: int) -> New:
    return New(digest(number), picture(number))


def slot_of(cache: PixelCache, number: int) -> int | None:
    known = cache.find(digest(number))
    return None if known is None else known.slot


def check(cache: PixelCache, *numbers: int) -> None:
    """Every picture is found by its content and comes back to the bit."""
    slots = [slot_of(cache, n) for n in numbers]
    assert None not in slots and len(set(slots)) == len(set(numbers))
    assert np.array_equal(
        cache.read(np.array(slots)), np.stack([picture(n) for n in numbers])
    )


def test_pictures_come_back_by_content_in_any_order(cache: PixelCache) -> None:
    add(cache, 1, 2, 3)
    add(cache, 4)
    check(cache, 3, 1, 4, 2, 1)
    assert cache.find("0" * 64) is None


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6))
def test_a_content_is_stored_once_however_often_it_comes(
    batches: list[list[int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = PixelCache(Path(folder), H, W)
        for batch in batches:
            slots = add(cache, *batch)
            assert slots == {digest(n): slot_of(cache, n) for n in batch}
        met = sorted({n for batch in batches for n in batch})
        if met:
            check(cache, *met)
        assert (Path(folder) / "pixels.u8").stat().st_size == len(met) * H * W * 3
        cache.close()


def test_a_file_is_known_while_its_whole_stamp_is_the_same(cache: PixelCache) -> None:
    one = Stamp("a.png", size=10, modified=99, inode=5, changed=7)
    copy = one._replace(path="copy.png", modified=98)
    files = [(one, digest(1)), (copy, digest(1))]
    slots = cache.add([new(1)], files)
    known = Known(digest(1), slots[digest(1)], "")
    others = [one._replace(path="b.png")]
    for part in ("size", "modified", "inode", "changed"):
        others.append(one._replace(**{part: 11}))
    assert cache.find_files([*others, one, copy]) == {one: known, copy: known}
    assert cache.find_files(others) == cache.find_files([]) == {}
    now = one._replace(inode=6)
    cache.add([new(2)], [(now, digest(2))])
    assert cache.find_files([one, now]) == {now: cache.find(digest(2))}


@pytest.mark.parametrize("stamps", ["files", "stamps"])
def test_an_index_of_an_earlier_version_is_emptied(stamps: str, tmp_path: Path) -> None:
    """It had no checksums, so that nothing in it can be relied on."""
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as index:
        index.execute("CREATE TABLE pixels (hash TEXT PRIMARY KEY, slot INTEGER)")
        index.execute(f"CREATE TABLE {stamps} (path TEXT PRIMARY KEY, size INTEGER)")
        index.execute("INSERT INTO pixels VALUES (?, 0)", (digest(1),))
        index.commit()
    (tmp_path / "pixels.u8").write_bytes(picture(1).tobytes())
    again = PixelCache(tmp_path, H, W)
    assert again.find(digest(1)) is None
    stamp = Stamp("a.png", 10, 99, 5, 7)
    again.add([new(1)], [(stamp, digest(1))])
    check(again, 1)
    assert again.find_files([stamp]) == {stamp: again.find(digest(1))}
    again.close()


def test_a_cache_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    first = PixelCache(tmp_path, H, W)
    add(first, 1, 2)
    first.close()
    again = PixelCache(tmp_path, H, W)
    add(again, 3, 2)
    check(again, 1, 2, 3)
    again.close()


def test_several_threads_read_and_write_at_once(cache: PixelCache) -> None:
    failures: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for n in range(start, start + 40, 4):
                add(cache, n, n + 1, n + 2, n + 3)
                check(cache, n, n + 3)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(start,)) for start in (0, 20, 20, 40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check(cache, *range(80))


WRITER = """
import hashlib, sys
from pathlib import Path
import numpy as np
from labelsieve.data.pixel_cache import New, PixelCache
folder, start, end, h, w = sys.argv[1], *map(int, sys.argv[2:])
cache = PixelCache(Path(folder), h, w)
for n in range(start, end, 4):
    batch = []
    for k in range(n, n + 4):
        pixels = np.random.default_rng(k).integers(0, 256, (h, w, 3), dtype=np.uint8)
        batch.append(New(hashlib.sha256(pixels.tobytes()).hexdigest(), pixels))
    cache.add(batch, [])
    print(n, flush=True)
cache.close()
"""


def writer(folder: Path, start: int, end: int) -> subprocess.Popen[str]:
    """Another process that adds pictures from `start` to `end`, and says so after every four."""
    words = [str(folder), *map(str, (start, end, H, W))]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *words], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    processes = [writer(tmp_path, 0, 60), writer(tmp_path, 20, 80)]
    assert [(p.communicate(timeout=120), p.returncode)[1] for p in processes] == [0, 0]
    cache = PixelCache(tmp_path, H, W)
    check(cache, *range(80))
    assert (tmp_path / "pixels.u8").stat().st_size == 80 * H * W * 3
    cache.close()


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_writer_leaves_whole_pictures_and_goes_on(tmp_path: Path) -> None:
    process = writer(tmp_path, 0, 100_000)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(8)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    cache = PixelCache(tmp_path, H, W)
    check(cache, *range(int(lines[-1]) + 4))
    rest = [n for n in range(200) if cache.find(digest(n)) is not None]
    check(cache, *rest)
    add(cache, 100_001)
    check(cache, *rest, 100_001)
    cache.close()


def test_a_batch_that_fails_half_way_is_not_there_and_harms_nothing(
    cache: PixelCache,
) -> None:
    add(cache, 1)
    with pytest.raises(DataError, match=r"cannot be written"):
        cache.add([new(2), New(digest(3), picture(3)[:1])], [])
    assert cache.find(digest(2)) is None
    add(cache, 4, 2)
    check(cache, 1, 2, 4)


def test_the_limit_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE_GB", str(2.5 * H * W * 3 / 1e9))
    cache = PixelCache(tmp_path / "c", H, W)
    with pytest.raises(
        DataError,
        match=r"^The pixel cache '.*' is full \(1\S*e-07 GB\)\. .*LABELSIEVE_CACHE_GB",
    ):
        add(cache, 1, 2, 3)
    assert cache.find(digest(1)) is None
    add(cache, 1, 2)
    check(cache, 1, 2)
    cache.close()


def test_what_a_cache_holds_is_not_counted_as_lost_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: type("usage", (), {"free": 1000})
    )
    assert cache_limit() == 900
    assert cache_limit(5000) == 5900
    monkeypatch.setenv("LABELSIEVE_CACHE_GB", "1e-7")
    assert cache_limit(5000) == 100


def test_a_limit_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE_GB", "many")
    with pytest.raises(
        OptionError, match=r"^LABELSIEVE_CACHE_GB is 'many', not a number"
    ):
        cache_limit()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError,
        match=r"^The cache folder '.*file/c' cannot be made: .*LABELSIEVE_CACHE",
    ):
        PixelCache(tmp_path / "file" / "c", H, W)


@pytest.mark.parametrize("left", [0, H * W * 3 + 7])
def test_pixels_that_were_cut_off_are_read_anew(tmp_path: Path, left: int) -> None:
    cache = PixelCache(tmp_path, H, W)
    cache.add(
        [new(n) for n in (1, 2, 3)],
        [(Stamp("b.png", 1, 1, 1, 1), digest(2))],
    )
    os.truncate(tmp_path / "pixels.u8", left)
    with pytest.raises(
        DataError,
        match=r"^The pixel cache '.*' is damaged \(picture 2\)\. Delete the folder",
    ):
        cache.read(np.array([2]))
    cache.close()
    again = PixelCache(tmp_path, H, W)
    assert [again.find(digest(n)) is not None for n in (1, 2, 3)] == [
        left > 0,
        False,
        False,
    ]
    assert again.find_files([Stamp("b.png", 1, 1, 1, 1)]) == {}
    add(again, 3, 2, 1)
    check(again, 1, 2, 3)
    again.close()


# --- damage


@pytest.mark.parametrize("content", [b"", b"this is no data base" * 100, b"SQLite"])
def test_a_damaged_index_is_made_anew(
    content: bytes, tmp_path: Path, notices: list[str]
) -> None:
    (tmp_path / "index.sqlite").write_bytes(content)
    cache = PixelCache(tmp_path, H, W)
    add(cache, 1)
    check(cache, 1)
    cache.close()
    assert len(notices) == bool(content)
    assert all("is damaged" in line for line in notices)


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that a person sees."""
    lines: list[str] = []
    monkeypatch.setattr(progress, "note", lines.append)
    return lines


def flip(path: Path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


SIZE = H * W * 3


def damage(path: Path, kind: str) -> None:
    """Of the second of three pictures."""
    if kind == "bit":
        flip(path, SIZE + 7, 3)
    elif kind == "black":
        data = path.read_bytes()
        path.write_bytes(data[:SIZE] + bytes(SIZE) + data[2 * SIZE :])
    else:  # the third in its place, as a disk writes that mixes up addresses
        data = path.read_bytes()
        path.write_bytes(data[:SIZE] + 2 * data[2 * SIZE :])


@pytest.mark.parametrize("kind", ["bit", "black", "swapped"])
def test_a_damaged_picture_is_restored_from_the_data(
    kind: str, tmp_path: Path, notices: list[str]
) -> None:
    cache = PixelCache(tmp_path, H, W)
    add(cache, 1, 2, 3)
    cache.close()
    damage(tmp_path / "pixels.u8", kind)
    again = PixelCache(tmp_path, H, W)
    restored = []

    def restore(slot: int) -> tuple[str, np.ndarray]:
        restored.append(slot)
        return digest(slot + 1), picture(slot + 1)

    again.restore = restore
    check(again, 1, 2, 3)
    check(again, 2)
    assert restored == [1]
    again.close()
    assert len(notices) == 1 and "is damaged" in notices[0]
    third = PixelCache(tmp_path, H, W)
    check(third, 1, 2, 3)
    third.close()


def test_without_the_data_damage_is_named(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, H, W)
    add(cache, 1, 2, 3)
    damage(tmp_path / "pixels.u8", "bit")
    with pytest.raises(
        DataError, match=r"is damaged \(picture 1\)\. Delete the folder"
    ):
        cache.read(np.array([0, 1]))
    cache.close()


@pytest.mark.parametrize("part", range(8))
def test_a_flipped_bit_of_the_index_never_gives_another_picture(
    part: int, tmp_path: Path
) -> None:
    stamps = [Stamp(f"{n}.png", n, n, n, n) for n in range(40)]
    cache = PixelCache(tmp_path / "whole", H, W)
    files = [(stamp, digest(n)) for n, stamp in enumerate(stamps)]
    cache.add([new(n) for n in range(40)], files)
    cache.close()
    random = np.random.default_rng(part)
    for trial in range(30):
        folder = tmp_path / str(trial)
        shutil.copytree(tmp_path / "whole", folder)
        index = folder / "index.sqlite"
        for _ in range(1 + trial % 3):
            at = int(random.integers(index.stat().st_size))
            flip(index, at, int(random.integers(8)))
        hurt = PixelCache(folder, H, W)
        hurt.restore = lambda slot: (digest(slot), picture(slot))
        for stamp, known in hurt.find_files(stamps).items():
            assert known.content_hash == digest(stamp.size)
            pixels = hurt.read(np.array([known.slot]))
            assert np.array_equal(pixels[0], picture(stamp.size))
        add(hurt, *range(40))
        check(hurt, *range(40))
        hurt.close()


# --- folders that cannot be written, systems that lack calls


def deny_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder of somebody else does; root, who runs tests in containers, may do anything."""
    real = os.open

    def deny(path: Path, flags: int, *rest: int, **more: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", deny)


def test_a_folder_that_cannot_be_written_gives_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PixelCache(tmp_path, H, W)
    stamp = Stamp("a.png", 1, 1, 1, 1)
    cache.add([new(1), new(2)], [(stamp, digest(1))])
    cache.close()
    deny_writing(monkeypatch)
    closed = PixelCache(tmp_path, H, W)
    check(closed, 1, 2)
    assert closed.find_files([stamp]) == {stamp: closed.find(digest(1))}
    assert closed.add([], [(stamp, digest(1))]) == {}
    with pytest.raises(DataError, match=r"cannot be written\. Set LABELSIEVE_CACHE"):
        add(closed, 3)
    closed.close()
    with pytest.raises(DataError, match=r"'.*empty' cannot be used: Permission denied"):
        PixelCache(tmp_path / "empty", H, W)


def test_of_a_folder_that_cannot_be_written_the_newest_rows_are_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed leaves them beside the index."""
    cache = PixelCache(tmp_path / "live", H, W)
    add(cache, 1, 2)
    left = tmp_path / "left"
    # as a kill leaves it, or a copy without the files for locking
    names = shutil.ignore_patterns("*-shm")
    shutil.copytree(tmp_path / "live", left, ignore=names)
    cache.close()
    assert (left / "index.sqlite-wal").stat().st_size
    before = {path: path.read_bytes() for path in left.iterdir()}
    deny_writing(monkeypatch)
    closed = PixelCache(left, H, W)
    assert closed.read_only
    check(closed, 1, 2)
    closed.close()
    assert {path: path.read_bytes() for path in left.iterdir()} == before


def test_a_full_disk_names_the_folder(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full, raising=False)
    with pytest.raises(DataError, match=r"'.*cache' cannot be used: No space left"):
        add(cache, 1)
    assert cache.find(digest(1)) is None


def test_calls_that_only_linux_has_are_not_needed(
    cache: PixelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fdatasync", "pread", "preadv", "pwrite", "pwritev", "readv"):
        monkeypatch.delattr(os, name, raising=False)
    add(cache, 1, 2)
    check(cache, 1, 2)


def test_caches_are_counted_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    (tmp_path / "own" / "a").mkdir(parents=True)
    (tmp_path / "own" / "a" / "x").write_bytes(b"123")
    (tmp_path / "own" / "y").write_bytes(b"12345")
    assert used() == 8 == clear()
    assert not (tmp_path / "own").exists() and used() == 0
