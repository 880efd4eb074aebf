"""Lists of "path label": corrected in place, to the byte, and back."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from labelsieve.corrections.writers.lists import accepts, open_writer
from labelsieve.data.sources import open_source
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

TEXT = '# head\r\n\r\nx/1.jpg  3\r\n\u2028x/2.jpg\n"a b.jpg", cat \nx/4.jpg\t5'


def redo(path: Path, changes: dict[int, str | None], **options: Any) -> bytes:
    spec = DataSpec(path, **options)
    source: Any = open_source(spec)
    assert accepts(source)
    writer: Any = open_writer(spec, source)
    target = path.with_name("new")
    writer._write(source, changes, target)
    return target.read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le"])
def test_every_other_byte_stays(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "l.txt"
    text = TEXT if encoding != "utf-16-le" else f"\ufeff{TEXT}"
    path.write_bytes(text.encode(encoding))
    assert redo(path, {}) == text.encode(encoding)
    new = redo(path, {0: "17", 1: "7", 2: "big dog", 3: None})
    expected = text.replace("  3", "  17").replace("2.jpg\n", "2.jpg 7\n")
    expected = expected.replace("cat", "big dog").replace("x/4.jpg\t5", "")
    assert new == expected.encode(encoding)


def test_packed_lists_stay_packed(tmp_path: Path) -> None:
    path = tmp_path / "l.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert redo(path, {}) == path.read_bytes()
    assert gzip.decompress(redo(path, {0: "4"})) == TEXT.replace("  3", "  4").encode()


def test_sets_keep_their_separator(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("1.jpg 3 17\n2.jpg 3\n")  # "17" comes first in the alphabet
    assert (
        redo(path, {1: '["17", "3"]'}, label_separator=" ")
        == b"1.jpg 3 17\n2.jpg 3 17\n"
    )


@pytest.mark.parametrize("label", ["b.png", "x y.jpg z", " a", "a\nb"])
def test_what_would_be_read_as_something_else_is_refused(
    tmp_path: Path, label: str
) -> None:
    path = tmp_path / "l.txt"
    path.write_text("1.jpg 3\n")
    with pytest.raises(DataError, match="cannot stand in a line"):
        redo(path, {0: label})
