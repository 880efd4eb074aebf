from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fixtures.corrections import correction

from labelsieve.corrections import journal, write_back
from labelsieve.corrections._copies import (
    begin_copy,
    copy_file,
    read_mark,
    write_mark,
)
from labelsieve.corrections.journal import step
from labelsieve.data.images import content_hash
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.tables import CORRECTIONS

LARGEST = 100_000  # bytes that a file may have on the disk that is full


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond some bytes, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_not_the_file_that_was_read(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x" * 10_000)
    (tmp_path / "new").symlink_to("/dev/full")
    with pytest.raises(OSError) as told:
        copy_file(tmp_path / "old", tmp_path / "new")
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(tmp_path / "new")
    assert told.value.filename2 is None
    with pytest.raises(OSError) as told:
        copy_file(tmp_path / "gone", tmp_path / "new")
    assert told.value.filename == str(tmp_path / "gone")


def pictures(folder: Path) -> tuple[DataSpec, pa.Table]:
    """Two classes of files too large for the disk, and a patch for one of them."""
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.png").write_bytes(label.encode() * LARGEST)
    row = next(iter(open_source(DataSpec(folder)).rows()))
    digest = content_hash((folder / row.uri).read_bytes())[:12]
    made = [correction(row, "dog" if row.label == "cat" else "cat", digest)]
    return DataSpec(folder), pa.Table.from_pylist(made, schema=CORRECTIONS)


def test_a_copy_to_a_full_disk_names_it(tmp_path: Path, request: Any) -> None:
    spec, patch = pictures(tmp_path / "data")
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError) as told:
        write_back.copy(spec, patch, tmp_path / "copy", links=False)
    assert str(told.value.filename).startswith(str(tmp_path / ".copy."))


def test_the_mark_of_a_copy_that_finds_no_room_is_named(tmp_path: Path) -> None:
    (tmp_path / ".labelsieve").mkdir()
    mark = tmp_path / ".labelsieve" / "copying"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(OSError) as told:
            begin_copy(tmp_path, "a patch", [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.value.filename == str(mark)


def test_an_original_that_finds_no_room_is_named_where_it_was_to_be(
    tmp_path: Path, request: Any
) -> None:
    (tmp_path / "big").write_bytes(b"x" * 2 * LARGEST)
    # what is a link gets a copy of what it leads to
    (tmp_path / "table").symlink_to("big")
    (tmp_path / "state").mkdir()
    todo = step("link", tmp_path / "table", tmp_path / "state" / "kept")
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match=r"state/kept' could not be written"):
        journal.carry_out(tmp_path / "state", [todo])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}'])
def test_a_mark_of_somebody_else_is_none(tmp_path: Path, content: str) -> None:
    patch = pa.Table.from_pylist([], schema=CORRECTIONS)
    (tmp_path / "a%b").write_text("a")
    write_mark(tmp_path, patch, [tmp_path / "a%b"])
    assert list(read_mark(tmp_path, patch) or ()) == ["a%25b"]
    (mark,) = (tmp_path / ".labelsieve").iterdir()
    mark.write_text(content)
    assert read_mark(tmp_path, patch) is None
