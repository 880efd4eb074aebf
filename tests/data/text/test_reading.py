"""Bytes become text; nothing is lost on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labelsieve.data.text.reading import (
    LARGEST,
    TextPreprocess,
    decode,
    encoding_of,
    read_bytes,
    text_bytes,
)
from labelsieve.errors import ImageError


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("naïve שלום 🙂".encode(), "naïve שלום 🙂", "UTF-8"),
        ("\ufeffmark".encode(), "mark", "UTF-8"),
        ("two".encode("utf-16"), "two", "UTF-16"),
        ("café".encode("cp1252"), "café", "Windows-1252"),
        (b"a\x00b\x1b[31m", "a\x00b\x1b[31m", "UTF-8"),
        # half of a pair of surrogates, and two halves that belong together
        ("x\ud800".encode("utf-8", "surrogatepass"), "x\ufffd", "UTF-8"),
        ("\ud83d\ude42".encode("utf-8", "surrogatepass"), "\U0001f642", "UTF-8"),
    ],
)
def test_texts_are_decoded(data: bytes, text: str, encoding: str) -> None:
    assert decode(data) == text
    assert encoding_of(data) == encoding


def test_cells_become_bytes_and_lists_are_refused() -> None:
    assert text_bytes("é") == "é".encode()
    assert text_bytes(b"raw\xff") == b"raw\xff"
    assert text_bytes(None) == b"" and text_bytes(7) == b"7"
    with pytest.raises(ImageError, match=r"^a list, and no text$"):
        text_bytes(["a"])


def test_files_are_read_whole_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (1 << 20))
    assert len(read_bytes(path)) == 1 << 20
    with pytest.raises(ImageError, match="No such file"):
        read_bytes(tmp_path / "b.txt")
    with path.open("r+b") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ImageError, match=r"^more than 16 MB$"):
        read_bytes(path)


def test_a_preprocess_names_all_that_decides_features() -> None:
    one = TextPreprocess(256, 8)
    assert one.characters == 256 * 8 * 12
    others = [TextPreprocess(128, 8), TextPreprocess(256, 4)]
    others.append(TextPreprocess(256, 8, "query: "))
    assert len({p.to_json() for p in [one, *others]}) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(ImageError, match="not a file"):
            read_bytes(path)
    with pytest.raises(ImageError, match="No such file"):
        read_bytes(tmp_path / "gone.txt")
