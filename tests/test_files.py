"""Files are written whole or not at all, whatever interrupts the writer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelsieve import files
from labelsieve.errors import RunError

# what a file system can hand out: any bytes but NUL, decoded the way Python decodes file names
paths = st.binary(min_size=1, max_size=40).map(
    lambda b: os.fsdecode(b.replace(b"\0", b"x"))
)


# --- replacing


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with files.replacing(path, durable=True) as scratch:
            assert scratch.parent == path.parent and scratch.suffix == ".txt"
            assert not scratch.exists()
            scratch.write_text(text)
            assert path.exists() == (text == "second")
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a", durable=True) as scratch:
        (scratch / "inner").mkdir(parents=True)
        (scratch / "inner" / "b").write_text("b")
        assert not (tmp_path / "a").exists()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a" / "inner" / "b").read_text() == "b"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_when_the_writer_fails_the_old_file_stays(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.replacing(path) as scratch:
        scratch.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from labelsieve import files\n"
        "with files.replacing(Path(sys.argv[1])) as scratch:\n"
        "    scratch.write_text('half'); os._exit(9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    assert killed.returncode == 9 and path.read_text() == "old"
    (left_behind,) = set(os.listdir(tmp_path)) - {"a.txt"}
    assert ".partial" in left_behind
    # another process may still be writing it ...
    with files.replacing(path) as scratch:
        scratch.write_text("new")
    assert (tmp_path / left_behind).exists()
    # ... but not a day later, or when nobody else can
    old = time.time() - 2 * files.ABANDONED
    os.utime(tmp_path / left_behind, (old, old))
    with files.replacing(path) as scratch:
        scratch.write_text("newer")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_file_and_not_its_scratch(tmp_path: Path) -> None:
    for named in (True, False):
        with (
            pytest.raises(OSError) as told,
            files.replacing(tmp_path / "a.csv") as scratch,
        ):
            raise OSError(28, "No space left", str(scratch) if named else None)
        assert told.value.filename == str(tmp_path / "a.csv")
    with pytest.raises(OSError) as told, files.replacing(tmp_path / "a.csv"):
        raise OSError(2, "Not there", "of the user")
    assert told.value.filename == "of the user"


def test_scratch_of_another_file_stays(tmp_path: Path) -> None:
    other = tmp_path / ".a.txt.7.partial.csv"
    other.write_text("half")
    with files.replacing(tmp_path / "a.txt", alone=True) as scratch:
        scratch.write_text("new")
    assert other.exists()


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".txt")
    with files.replacing(path) as scratch:
        scratch.write_text("x")
    assert path.read_text() == "x"


# --- sync and remove


def test_sync_reports_a_disk_that_could_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_text("a")
    files.sync(tmp_path)

    def fail(code: int) -> None:
        def fsync(_: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    fail(errno.EIO)
    with pytest.raises(OSError, match=r"Input/output error"):
        files.sync(tmp_path / "inner" / "a")
    fail(errno.EINVAL)  # a disk that has no such call
    files.sync(tmp_path)


def test_remove_takes_what_is_there_and_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(kept)
    file = tmp_path / "file"
    file.write_text("x")
    for path in (link, file, tmp_path / "never"):
        files.remove(path)
    assert os.listdir(tmp_path) == ["kept"] and (kept / "inner").is_dir()
    files.remove(kept)
    assert os.listdir(tmp_path) == []


# --- JSON


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"ü": [1, 2.5, None], "path": tmp_path}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == {**value, "path": str(tmp_path)}


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1', b"[1]", b"5", b"\xff", b"[" * 100_000]
)
def test_damaged_json_is_one_line_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json' is damaged: [^\n]*$"):
        files.read_json(path)


def test_missing_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a\.json' is missing"):
        files.read_json(tmp_path / "a.json")


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one = files.fingerprint({"a": 1, "b": [2]})
    assert one == files.fingerprint({"b": [2], "a": 1}) and len(one) == 16
    assert one != files.fingerprint({"a": 1, "b": [3]})


# --- paths as text


@given(paths)
@example("100%25.png")
@example("%ff/a.png")
@example(os.fsdecode(b"caf\xe9/\xff.png"))
@example("line\nbreak 'and' \"quotes\".png")
def test_a_path_comes_back_from_its_uri(path: str) -> None:
    assert files.uri_to_path(files.path_to_uri(path)) == path


@given(paths, paths)
def test_uris_are_utf8_and_different_paths_have_different_ones(
    one: str, other: str
) -> None:
    a, b = files.path_to_uri(one), files.path_to_uri(other)
    a.encode("utf-8")
    assert (a == b) == (one == other)


def test_a_plain_path_is_its_own_uri() -> None:
    assert files.path_to_uri(Path("cat/ä b.png")) == "cat/ä b.png"


@given(paths)
def test_readable_is_utf8_and_leaves_what_was_readable(path: str) -> None:
    shown = files.readable(path)
    shown.encode("utf-8")
    if path.isprintable():
        assert shown == path


def test_readable_shows_bytes_that_are_no_text() -> None:
    assert files.readable(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"


# --- inputs


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_what_is_private_is_read_by_nobody_else(tmp_path: Path) -> None:
    files.write_json(tmp_path / "mine", {}, private=True)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600
    files.write_json(tmp_path / "all", {})
    assert (tmp_path / "all").stat().st_mode & 0o777 != 0o600


@pytest.mark.skipif(os.name == "nt", reason="no pipes with names, and no such modes")
@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_has_no_end_is_refused_and_not_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with contextlib.ExitStack() as held:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            held.enter_context(socket.socket(socket.AF_UNIX)).bind("run.json")
        with pytest.raises(RunError, match=r"run\.json' cannot be read: .* a device"):
            files.read_json(path)


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
def test_what_becomes_part_of_a_run_is_the_users_alone(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    before = os.umask(0o022)
    try:
        files.write_json(tmp_path / "other" / "a.json", {})
        files.write_json(tmp_path / "run.json", {})
        files.write_json(tmp_path / "a.json", {})
        with files.replacing(tmp_path / "detector") as scratch:
            (scratch / "deep").mkdir(parents=True)
            (scratch / "weights").touch()
        files.write_json(tmp_path / "checkpoints" / "a.json", {})
    finally:
        os.umask(before)
    assert mode(tmp_path / "other" / "a.json") == 0o644
    for name in ("run.json", "a.json", "detector/weights", "checkpoints/a.json"):
        assert mode(tmp_path / name) == 0o600, name
    for name in ("detector", "detector/deep"):
        assert mode(tmp_path / name) == 0o700, name
