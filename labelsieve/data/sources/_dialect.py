"""How a text table is written: its encoding, and what stands between its cells.

Spreadsheets write semicolons where the comma is a decimal point, Windows-1252 and UTF-16. What
is recognised is said in the notes of the source.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
from dataclasses import dataclass
from pathlib import Path

from labelsieve.data.sources._unpacked import open_bytes
from labelsieve.errors import DataError
from labelsieve.files import readable

LOOKED_AT = 1 << 16  # bytes from which separators are told: hundreds of rows
AT_ONCE = 1 << 20  # bytes that are decoded at a time to find out the encoding
SEPARATORS = (",", ";", "\t", "|")
CALLED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Marks that some programs write first; readers know that of UTF-8 themselves.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OLD = "cp1252"  # what Windows programs write in Europe and America
NAMES = {"cp1252": "Windows-1252", "utf-16": "UTF-16"}


@dataclass(frozen=True)
class Dialect:
    """An encoding as Python names it, and the character between cells."""

    encoding: str = "utf-8"
    separator: str = ","

    def notes(self, usual: str) -> list[str]:
        """What is not as the suffix of the file has it, for people."""
        odd = []
        if self.encoding in NAMES:
            odd.append(NAMES[self.encoding])
        if self.separator != usual:
            odd.append(f"with {CALLED[self.separator]} between its cells")
        return odd


def dialect_of(path: Path, *, tabs: bool = False) -> Dialect:
    """The dialect of a CSV or TSV file, which may be packed.

    Args:
        tabs: its name says that they part its cells.

    Raises:
        DataError: it is no text in an encoding that is known.
    """
    status = path.stat()
    # a file that changes meanwhile is looked at again
    return _dialect(path, tabs, (status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=256)
def _dialect(path: Path, tabs: bool, version: tuple[int, int]) -> Dialect:
    encoding = _encoding(path)
    if tabs:
        return Dialect(encoding, "\t")
    with open_bytes(path) as file:
        data = file.read(LOOKED_AT)
        whole = not file.read(1)
    # the last character may be cut; so may the last row, which is not counted
    text = codecs.getincrementaldecoder(encoding)().decode(data)
    return Dialect(encoding, _separator(text, whole=whole))


def _encoding(path: Path) -> str:
    with open_bytes(path) as file:
        start = file.read(4)
    for mark, encoding in MARKS:
        if not start.startswith(mark):
            continue
        if encoding == "utf-8" and not _decodes(path, encoding):
            raise DataError(
                f"'{readable(path)}' begins as UTF-8, and other bytes in it are not.",
                "Save it again as CSV in UTF-8.",
            )
        return encoding
    for encoding in ("utf-8", OLD):
        if _decodes(path, encoding):
            return encoding
    raise DataError(
        f"'{readable(path)}' cannot be read as CSV: it is not text in UTF-8, UTF-16 or "
        "Windows-1252.",
        "Save it as CSV in UTF-8.",
    )


def _decodes(path: Path, encoding: str) -> bool:
    """Whether all bytes of a file are text; a table holds no NUL characters."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(path) as file:
        while data := file.read(AT_ONCE):
            if b"\0" in data:
                return False
            try:
                decoder.decode(data)
            except UnicodeDecodeError:
                return False
    return not _is_cut(decoder)


def _is_cut(decoder: codecs.IncrementalDecoder) -> bool:
    try:
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return True
    return False


def _separator(text: str, *, whole: bool) -> str:
    """The first that parts all rows into the same number of cells, more than one."""
    widths = {mark: _width(text, mark, whole) for mark in SEPARATORS}
    if widths[","] > 1:
        return ","
    best = max(SEPARATORS, key=lambda mark: widths[mark])
    # a table of one column, or one that no separator fits: commas, and the reader names the row
    return best if widths[best] > 1 else ","


def _width(text: str, separator: str, whole: bool) -> int:
    """Cells of each row; 0 where rows differ."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        widths = [len(row) for row in rows if row]
    except csv.Error:  # a cell of more than 128 KB
        return 0
    if not whole and len(widths) > 1:
        widths.pop()
    return widths[0] if len(set(widths)) == 1 else 0
