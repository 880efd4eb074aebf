"""Text written anew with other lines: one line in memory at a time, every other byte as it was."""

from __future__ import annotations

import codecs
import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from labelsieve.data.sources._unpacked import open_bytes, packed_like, packing
from labelsieve.errors import DataError
from labelsieve.progress import plain

BYTE_ORDER_MARK = "\ufeff"  # spreadsheets and editors on Windows write it first
AT_ONCE = 1 << 16  # bytes that are compared at a time


def rewrite_text(
    path: Path,
    target: Path,
    encoding: str,
    changed: Callable[[Iterator[str]], Iterator[str]],
    *,
    ends: str = "",
) -> None:
    """Write a text with other lines to `target`, packed as it was; a line in memory at a time.

    Args:
        changed: lines with their ends, without the mark of the encoding -> what is written.
        ends: what ends a line, as of `io.TextIOWrapper`: empty for line feeds and carriage returns.
    """
    if encoding == "utf-16":
        # as this machine orders bytes, the codec would write; and a second mark
        with open_bytes(path) as file:
            big = file.read(2) == codecs.BOM_UTF16_BE
        encoding = "utf-16-be" if big else "utf-16-le"
    try:
        with open_bytes(path) as file, packed_like(path, target) as out:
            # bytes that are not of the encoding come out as they went in
            text = io.TextIOWrapper(file, encoding, "surrogateescape", newline=ends)
            lines = iter(text)
            first = next(lines, "")
            # no part of the first cell or line, but it stays
            rest = first.removeprefix(BYTE_ORDER_MARK)
            out.write(_encoded(first[: len(first) - len(rest)], encoding))
            for line in changed(itertools.chain([rest] if rest else [], lines)):
                out.write(_encoded(line, encoding))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    # packing anew would change bytes where no label does
    if packing(path) and _hold_the_same(path, target):
        shutil.copyfile(path, target)


def _hold_the_same(path: Path, target: Path) -> bool:
    """Whether two packed files hold the same bytes."""
    kind = packing(path)
    with open_bytes(path) as one, open_bytes(target, kind) as other:
        while data := one.read(AT_ONCE):
            if data != other.read(AT_ONCE):
                return False
        return not other.read(1)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError as error:
        raise DataError(
            f"The encoding of the table, {encoding}, has no "
            f"{plain(text[error.start : error.end])!r}.",
            "Choose another label, or save the table in UTF-8.",
        ) from error
