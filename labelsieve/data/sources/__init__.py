"""Where data lives: one storage per file.

A file of this room offers two functions:

    accepts(spec: DataSpec) -> bool          can this storage read what the user named?
    open_source(spec: DataSpec) -> Source    raises DataError with what to do

and its `Source` streams rows in a fixed order and reads one image again by its `uri`, from any
thread. A row's true label, where the user named a column for it, goes to a table of its own
that only scoring reads; no method ever sees it.

What storages hold comes from strangers: whatever a parser raises becomes a `DataError` with
one line, numbers keep every digit, and no path that a history beside the data names is
followed out of the data.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from labelsieve import registry
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

# Folder beside data that were corrected in place: their history, never listed as data.
STATE = ".labelsieve"


READABLE = (
    "Give a folder of class folders, a CSV, TSV, JSONL or Parquet file, a save_to_disk "
    "folder, or hf://OWNER/NAME."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One image as its source knows it, before it is read."""

    key: str  # the user's id, relative path or content, unique within the source
    uri: str  # what `Source.read` takes
    path: str  # what a person reads
    label: str | None
    truth: str | None = None
    split: str | None = None
    # bytes, a path, or a picture that is already there
    image: Any = field(default=None, repr=False)


class Source(Protocol):
    """One data set, opened.

    A source may have more attributes, which are taken for these where it has none:

        classes: Sequence[str] = ()       declared labels in their order, also unused ones
        modality: str = "images"          a file of `labelsieve.data.modalities`
        labels_are: str = "single"        or "set" (`labelsieve.data.labels`)
    """

    notes: list[str]  # what was left out while listing, and why: shown by the preflight

    def rows(self) -> Iterator[Row]: ...

    def read(self, uri: str) -> Any:
        """The image of one row again: bytes, path or picture."""
        ...


def open_source(spec: DataSpec) -> Source:
    """Open the data set a user named, with the first storage that accepts it.

    Raises:
        DataError: nothing there, or nothing here can read it.
    """
    for name in registry.names("data/sources"):
        room = registry.load("data/sources", name)
        if room.accepts(spec):
            source: Source = room.open_source(spec)
            return source
    path = spec.path()
    if path is None:
        kind = type(spec.data).__name__
        raise DataError(f"labelsieve cannot read an object of type {kind}.", READABLE)
    if not path.exists():
        raise DataError(f"'{path}' does not exist.", READABLE)
    raise DataError(f"labelsieve cannot read '{path}'.", READABLE)


def label_text(value: Any, names: Sequence[str] | None = None) -> str | None:
    """A label, id or split as text.

    None where there is none: null, NaN, blank, or a negative class number.

    Args:
        value: a cell of a table or an element of an array; whole floats lose their ".0".
        names: of the classes, where a whole number counts them.
    """
    # pandas' missing value has no truth value to compare; NaN alone differs from itself
    if value is None or type(value).__name__ == "NAType" or value != value:
        return None
    if names and isinstance(value, int) and value < len(names):
        return str(names[value]) if value >= 0 else None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    # half of a surrogate pair is no text, and Arrow's tables cannot hold it
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if text.strip() else None


def check_one_value(kind: pa.DataType, flag: str, column: str) -> None:
    """Raises DataError when a column holds lists or structs, so that a row has no single label."""
    if pa.types.is_nested(kind):
        raise DataError(
            f"{flag} '{column}' holds {kind}.",
            "A column with one value per image is needed.",
        )


class RowKeys:
    """Keys of rows, as they pass: the user's id, else the path or the content.

    Never the number of a row, so that rows may be put into another order. Only rows of the very
    same path or content are told apart by their order: "@2", "@3".
    """

    def __init__(self, id_column: str | None) -> None:
        self._column = id_column
        self._ids: dict[str, str] = {}
        self._met: Counter[str] = Counter()

    def take(self, own: str | None, image: str | bytes, row: str) -> str:
        """Key of the next row.

        Args:
            own: the user's id, where there is one.
            image: a path as uri, or encoded bytes.
            row: which row this is, for the message.

        Raises:
            DataError: another row has the same id.
        """
        if own is not None and own in self._ids:
            raise DataError(
                f"--id-column '{self._column}': '{own}' stands in {self._ids[own]} and "
                f"in {row}.",
                "Name a column of unique ids, or leave it out.",
            )
        if own is not None:
            self._ids[own] = row
            return own
        if isinstance(image, bytes):
            # as many digits as an id has of its content
            image = hashlib.sha256(image).hexdigest()[:12]
        key = image
        self._met[key] += 1
        return key if self._met[key] == 1 else f"{key}@{self._met[key]}"
