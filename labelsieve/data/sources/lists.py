"""A text file of lines "path label", as ImageNet, Clothing1M and many papers publish them.

The path ends with the suffix of a picture; what follows it, after a space, a tab, a comma or a
semicolon, is the label. A line of which that says two things is named, and never guessed.
Paths are relative to --root, or to the file's folder.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from labelsieve.data.sources import Row, refuse_options
from labelsieve.data.sources._columns import Columns
from labelsieve.data.sources._dialect import dialect_of
from labelsieve.data.sources._formats import named
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._labels import NONE, Names, of_column
from labelsieve.data.sources._layout import IMAGE_SUFFIXES
from labelsieve.data.sources._unpacked import bare, open_bytes
from labelsieve.data.sources.table import TableSource, store_of
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable
from labelsieve.progress import plain

SUFFIXES = (".txt", ".lst", ".list")
NO_COLUMNS = (
    *("image_column", "label_column", "truth_column", "id_column", "text_column"),
    *("vote_columns", "count_columns", "split"),
)
_ENDS = "|".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
# A path in quotes, or up to the first suffix of a picture with a separator or nothing behind it.
_PATH = rf'"(?P<quoted>[^"]+)"|(?P<path>\S.*?\.(?:{_ENDS}))'
LINE = re.compile(
    rf"(?i)\s*(?:{_PATH})(?P<mark>[ \t]*[,;\t][ \t]*|[ \t]+|$)(?P<label>.*?)\s*"
)
# Another picture in what would be the label: which part is the path?
SECOND = re.compile(rf"(?i).*\.(?:{_ENDS})([ \t,;]|$)")
COMMENT = "# "
MARK = "\ufeff"  # that editors on Windows put before UTF-8
LOOKED_AT = 1 << 16  # bytes of its first line that are looked at
PATH, LABEL = "path", "label"


@dataclass(frozen=True, slots=True)
class Line:
    """One line that names a picture.

    Attributes:
        label: None where the line has none.
        span: of the label in the line; an empty one where it would stand.
    """

    path: str
    label: str | None
    span: tuple[int, int]


def line_of(text: str) -> Line | None:
    """What a line says; None where it names no picture, or what it says is not clear."""
    found = LINE.fullmatch(text)
    if found is None or SECOND.match(found["label"]):
        return None
    path = found["quoted"] or found["path"]
    # "1 a.png cat" may be an id before a path, or a path with a space: only quotes tell
    if not found["quoted"] and (found["mark"].strip(" ") or " ")[0] in path:
        return None
    return Line(path, found["label"] or None, found.span("label"))


def is_blank(text: str) -> bool:
    """Whether a line is none of a picture by its looks: empty, or a comment."""
    return not text.strip(f" \t\r\n{MARK}") or text.startswith(COMMENT)


def lines(path: Path) -> Iterator[str]:
    """The lines of a file, with their ends; the mark of the encoding left out."""
    with open_bytes(path) as file:
        encoding = dialect_of(path, tabs=True).encoding
        text = io.TextIOWrapper(file, encoding, newline="")
        for number, line in enumerate(text):
            yield line if number else line.removeprefix(MARK)


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or bare(path).suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    first = _first(path)
    # without labels it may be anything, such as a list of YOLO
    return first is not None and (first.label is not None or not spec.labelled)


def _first(path: Path) -> Line | None:
    """The first picture of a file; None where its first line names none."""
    try:
        with open_bytes(path) as file:
            start = file.read(LOOKED_AT)
        encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = start.decode(encoding, "replace")
    # whatever is wrong with it, it is told by what can read it
    except Exception:
        return None
    for line in text.splitlines():
        if not is_blank(line):
            return line_of(line)
    return None


def open_source(spec: DataSpec) -> ListSource:
    """Open it; raises DataError with what to do."""
    refuse_options(spec, NO_COLUMNS, "a line is a path and a label")
    path = Path(spec.data)
    root = Path(spec.root) if spec.root else path.parent
    labelling = None
    if spec.labelled:
        # a line without a label is no empty set
        labelling = of_column(LABEL, pa.string(), spec.label_separator, empty=False)
    columns = Columns(PATH, labelling, None, None, None)
    asks = spec.label_separator is None
    return ListSource(
        path, root, columns, asks=asks, store=store_of(root), urls=spec.urls or ""
    )


class ListSource(TableSource):
    """Rows of a list."""

    @cached_property
    def _names(self) -> Names:
        # numbers of classes are their labels: nothing here says more
        return {PATH: None, LABEL: None}

    def dialect_note(self) -> str:
        """Nothing is odd about it."""
        return ""

    def all_rows(self, keys: RowKeys) -> Iterator[Row]:
        """Rows in the order of the file."""
        for number, line in enumerate(self._lines()):
            record = {PATH: line.path, LABEL: line.label}
            yield self.row(number, record, keys)

    def _lines(self) -> Iterator[Line]:
        with named(self.path, kind="a list"):
            for number, text in enumerate(lines(self.path), 1):
                if is_blank(text):
                    continue
                line = line_of(text)
                if line is None:
                    raise DataError(
                        f"Line {number} of '{readable(self.path)}' is no path of a picture "
                        f"and a label: '{plain(text.strip())[:100]}'.",
                        'Put the path into quotes: "a b.jpg" cat',
                    )
                yield line

    def distinct_labels(self) -> set[str] | None:
        """As `TableSource.distinct_labels`; also asks about several numbers in a line."""
        labelling = self.columns.labelling
        if not self.asks or labelling is None:
            return None
        labels = {line.label for line in self._lines() if line.label is not None}
        several = [x for x in labels if len(x.split()) > 1 and _is_numbers(x)]
        if several:
            raise DataError(
                f"{len(several)} labels of '{readable(self.path)}' look like sets of labels, "
                f"such as '{min(several)}'.",
                f"Give --label-separator ' ' if they are, or --label-separator {NONE} if "
                "each is one label.",
            )
        return labels


def _is_numbers(label: str) -> bool:
    return all(part.isdecimal() for part in label.split())
