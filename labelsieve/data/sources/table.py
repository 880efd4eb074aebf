"""A table: CSV, TSV, JSONL or Parquet, with a column of image paths, encoded images or texts.

Paths are relative to --root, or to the table's folder. Labels are one column, a set of labels in
one column (--label-separator, or lists), or the votes of several people (--vote-columns,
--count-columns).
"""

from __future__ import annotations

import posixpath
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from labelsieve.data.labels import SINGLE
from labelsieve.data.sources import Row, label_text
from labelsieve.data.sources._beside import (
    boxes_in_rows,
    refuse_elsewhere,
    votes_below_each_other,
)
from labelsieve.data.sources._columns import TEXTS, Columns, choose
from labelsieve.data.sources._formats import (
    SUFFIXES,
    class_names,
    format_of,
    named,
    odd_dialect,
    open_table,
    schema_of,
)
from labelsieve.data.sources._groups import Cells, stamp_of
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._labels import Names, Tally, ask_for_separator
from labelsieve.data.sources._remote import remote_of, url_of
from labelsieve.data.sources._stores import (
    Missing,
    Outside,
    Store,
    as_written,
    leads_out,
    led_out,
    open_store,
)
from labelsieve.data.sources._texts import cell, spooled
from labelsieve.data.spec import DataSpec
from labelsieve.data.text.spool import Spool
from labelsieve.errors import DataError
from labelsieve.files import Bounds, path_to_uri, readable, uri_to_path

__all__ = ["SUFFIXES", "TableSource", "accepts", "class_names", "open_source"]

# The uri of an image that the table itself holds. A file may be called "row:1.png".
ROW = re.compile(r"row:([0-9]+)(?::(.+))?", re.DOTALL)


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and format_of(path) is not None and path.is_file()


def open_source(spec: DataSpec) -> TableSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    columns = choose(spec, path, schema_of(path))
    # the answer of the user ends the questions
    asks = spec.label_separator is None
    root = _root(spec, path)
    store = store_of(root)
    if columns.modality != TEXTS and not spec.root:
        refuse_elsewhere(path, columns.image)
    return TableSource(
        path, root, columns, spec.split, asks, store=store, urls=spec.urls or ""
    )


def store_of(root: Path) -> Store | None:
    """Of pictures that lie in an archive; None where `root` is a folder.

    Raises:
        DataError: it is neither, or damaged.
    """
    # opened in any case, as it says what is wrong with the root
    store = open_store(root)
    return None if root.is_dir() else store


def _root(spec: DataSpec, path: Path) -> Path:
    """The folder that image paths are relative to."""
    return Path(spec.root) if spec.root else path.parent


@dataclass
class TableSource:
    """Rows of one table file.

    Attributes:
        asks: whether labels that look like sets are to be asked about.
        part: of a data set of several tables, what this one is called in uris.
        below: where `root` lies in that data set, such as "data/".
        homes: folders beside `root` that are the data's own.
        confined: pictures lie in these folders, not anywhere on the disk.
    """

    path: Path
    root: Path
    columns: Columns
    split: str | None = None
    asks: bool = True
    part: str = ""
    below: str = ""
    store: Store | None = None  # of pictures in an archive, or on another machine
    urls: str = ""  # hosts that the table may name URLs on
    homes: tuple[Path, ...] = ()
    confined: bool = False
    notes: list[str] = field(default_factory=list)
    _cells: Cells | None = None  # of the images that the table holds
    _texts: tuple[Path, Spool] | None = None  # of which file all texts were read
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def label_column(self) -> str | None:
        """The column of labels; None where there is none, or several people voted."""
        return self.columns.label

    @property
    def modality(self) -> str:
        """Of `labelsieve.data.modalities`."""
        return self.columns.modality

    @property
    def labels_are(self) -> str:
        """Of `labelsieve.data.labels`: SINGLE, or SET."""
        return self.columns.labelling.kind if self.columns.labelling else SINGLE

    @property
    def classes(self) -> list[str]:
        """As a ClassLabel column, or columns of counts, declare them, in their order."""
        labelling = self.columns.labelling
        if labelling is None:
            return []
        # the columns themselves are the classes
        if labelling.form == "counts":
            return [column.strip() for column in labelling.columns]
        return self._names[labelling.columns[0]] or []

    @cached_property
    def _names(self) -> Names:
        """Column -> class names, where it holds their numbers."""
        schema = schema_of(self.path)
        return {c: class_names(schema, c) for c in self.columns.read()}

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the file."""
        # listing again must not say everything twice
        self.notes[:] = [self.dialect_note()] if self.dialect_note() else []
        self.check_labels()
        if format_of(self.path) in ("csv", "tsv"):
            self.notes += votes_below_each_other(self.path, self.columns)
        self.notes += boxes_in_rows(self.path, self.columns)
        number, seen, tally, outside = 0, 0, Tally(), Outside(self.bounds)
        for row in self.all_rows(RowKeys(self.columns.id)):
            number += 1
            if self.split is None or row.split == self.split:
                seen += 1
                tally.add(row.label, row.agreement)
                outside.add(row.image)
                yield row
        self.notes += [*tally.notes(), *outside.notes()]
        if number and not seen:
            raise DataError(
                f"--split '{self.split}' matches no row of '{self.path}'.",
                "Check the column 'split'.",
            )

    def dialect_note(self) -> str:
        """What is odd about how it is written; empty where nothing is."""
        odd = odd_dialect(self.path)
        told = ", ".join(odd)
        # "as UTF-16, with semicolons", and "with semicolons" alone
        told = told if told.startswith("with") else f"as {told}"
        return f"'{readable(self.path.name)}' was read {told}" if odd else ""

    def all_rows(self, keys: RowKeys) -> Iterator[Row]:
        """Rows of every split, in the order of the file."""
        number = 0
        # a lambda, as the number is known only when something fails
        with named(self.path, lambda: f"The fault is after row {number}."):
            for part in open_table(self.path, self.columns.read()).parts:
                for record in part:
                    row = self.row(number, record, keys)
                    number += 1
                    yield row

    def check_labels(self) -> None:
        """Ask about labels that may be sets, before anything is decoded.

        Raises:
            DataError: the user has to say what they are.
        """
        # a pass over one column, which is short beside decoding
        labels = self.distinct_labels()
        if labels is not None:
            ask_for_separator(labels, str(self.path))

    def distinct_labels(self) -> set[str] | None:
        """Every label that occurs; None where it is clear what labels are."""
        labelling = self.columns.labelling
        if not self.asks or labelling is None or labelling.form != "one":
            return None
        (column,) = labelling.columns
        distinct: set[Any] = set()
        with named(self.path):
            for part in open_table(self.path, [column]).parts:
                distinct.update(record[column] for record in part)
        return {label for label in distinct if isinstance(label, str)}

    def read(self, uri: str) -> Any:
        """The image of one row again: bytes, or the path of its file."""
        embedded = ROW.fullmatch(uri)
        if not embedded:
            path = uri_to_path(uri.removeprefix(self.below))
            return self._picture(path, now=True)
        with named(self.path), self._lock:
            if self.modality == TEXTS:
                return self._text_of(int(embedded[1]))
            return self._read_row(int(embedded[1]))

    def _text_of(self, number: int) -> bytes:
        """The text of a row again, as bytes."""
        # what is read in place of a corrected table is another file
        if self._texts is None or self._texts[0] != self.path:
            self._texts = (self.path, spooled(self.path, self.columns.image))
        return self._texts[1].read(number)

    def _picture(self, path: str, *, now: bool = False) -> Any:
        """A picture that the table names; `now`: the bytes of one in an archive."""
        # the quick test first: most paths are none
        url = url_of(path) if "://" in path else None
        if url is not None:
            member: Any = remote_of(self.urls).picture(url)
        elif self.store is None and not self._leaves(path):
            file = as_written(self.root, path)
            if not self.confined or self.bounds.hold(file):
                return file
            member = led_out(file)
        else:
            # "./a.png" is the member "a.png"
            inner = posixpath.normpath(path)
            outside = self.store is None or leads_out(inner)
            member = Missing("it leads out of the data") if outside else None
            member = member or (self.store and self.store.member(inner))
        return member.read_bytes() if now else member

    @cached_property
    def bounds(self) -> Bounds:
        """Where pictures lie that are part of the data, links followed."""
        return Bounds(self.root, *self.homes)

    def _leaves(self, path: str) -> bool:
        """Whether a path would lead out of the folder that the user named."""
        # the quick test first; from a split's folder, "../" may lead to a sibling
        suspect = self.confined and (".." in path or path[:1] in ("/", "\\"))
        whole = posixpath.join(self.below, path)
        return suspect and leads_out(posixpath.normpath(whole))

    def _read_row(self, number: int) -> Any:
        # what is read in place of a corrected table is another file
        if self._cells is None or self._cells.stamp != stamp_of(self.path):
            self._cells = Cells(self.path, self.columns.image)
        try:
            return _image(self._cells.read(number))[0]
        except IndexError:
            raise DataError(
                f"'{self.path}' has no row {number}.",
                "Was the table changed after the scan?",
            ) from None

    def let_go(self) -> None:
        """Forget the images that were read last: of another table they are wanted now."""
        with self._lock:
            self._cells = None

    def row(self, number: int, record: dict[str, Any], keys: RowKeys) -> Row:
        """One row of the table from the cells of its columns."""
        columns = self.columns
        data, path = self._item(record[columns.image])
        image: Any = data
        own = self._text(record, columns.id)
        # people look for their own id, where their rows have one
        name = f"row {number}" if own is None else readable(own)
        if data is not None:
            part = f":{self.part}" if self.part else ""
            uri, shown = f"row:{number}{part}", path or name
        elif path:
            uri, shown = uri_of_file(path, self.below), readable(path)
            image = self._picture(path)
        else:
            uri, shown, image = "", name, b""
        # images to classify need no labels
        label, agreement = None, None
        if columns.labelling:
            label, agreement = columns.labelling.read(record, self._names)
        return Row(
            key=keys.take(own, image if isinstance(image, bytes) else uri),
            uri=uri,
            path=shown,
            label=label,
            truth=self._truth(record),
            split=self._text(record, columns.split),
            image=image,
            agreement=agreement,
        )

    def _item(self, value: Any) -> tuple[Any, str | None]:
        """(what the cell holds, path of what it names); either may be missing."""
        return (cell(value), None) if self.modality == TEXTS else _image(value)

    def _truth(self, record: dict[str, Any]) -> str | None:
        column, labelling = self.columns.truth, self.columns.labelling
        if column is None or labelling is None:
            return self._text(record, column)
        return labelling.truth(record[column], self._names[column])

    def _text(self, record: dict[str, Any], column: str | None) -> str | None:
        if column is None:
            return None
        return label_text(record[column], self._names[column])


def uri_of_file(path: str, below: str = "") -> str:
    """The uri of a file that a table names, whose root lies `below` that of the data set."""
    uri = path_to_uri(path)
    if below and not path.startswith("/"):
        uri = below + uri
    # a file with the very name of a row is named by another way to it
    return f"./{uri}" if ROW.fullmatch(uri) else uri


def _image(value: Any) -> tuple[bytes | None, str | None]:
    """(encoded image, path) of an image cell; either may be missing."""
    data, path = value, value
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), None if data is path else label_text(path)
    return None, None if path is None else str(path)
