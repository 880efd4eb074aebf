"""Where data lives: one storage per file.

A file of this room offers two functions:

    accepts(spec: DataSpec) -> bool          can this storage read what the user named?
    open_source(spec: DataSpec) -> Source    raises DataError with what to do

    FALLBACK = True                          optional: asked last, takes what no other knows

and its `Source` streams rows in a fixed order and reads one image again by its `uri`, from any
thread. A row's true label, where the user named a column for it, goes to a table of its own
that only scoring reads; no method ever sees it.

What storages hold comes from strangers: whatever a parser raises becomes a `DataError` with
one line, numbers keep every digit, and no path that a history beside the data names is
followed out of the data.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from labelsieve import registry
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable

# Folder beside data that were corrected in place: their history, never listed as data.
STATE = ".labelsieve"
# What every folder of a scan has (`labelsieve.runs.run`), and no data set has together.
OF_A_RUN = ("run.json", "manifest.parquet", "noise.json")

READABLE = (
    "Give a folder of class folders, a CSV, TSV, JSONL or Parquet file, a folder or pattern "
    "of these, a save_to_disk folder, or hf://OWNER/NAME."
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
    # bytes, a path or what has `read_bytes()` like one, or a picture that is already there
    image: Any = field(default=None, repr=False)
    agreement: float | None = (
        None  # of several annotators: the share that gave this label
    )


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
    _refuse_run(spec.path())
    _refuse_pointer(spec.path())
    rooms = [registry.load("data/sources", n) for n in registry.names("data/sources")]
    # a stable sort: by name among those that are asked first, and among those asked last
    for room in sorted(rooms, key=lambda room: getattr(room, "FALLBACK", False)):
        if room.accepts(spec):
            source: Source = room.open_source(spec)
            return source
    path = spec.path()
    if path is None:
        kind = type(spec.data).__name__
        raise DataError(f"labelsieve cannot read an object of type {kind}.", READABLE)
    if not path.exists():
        raise DataError(f"'{path}' does not exist.", READABLE)
    # here, as what tells kinds of data apart needs this module
    from labelsieve.data.sources._guess import proposal

    what, do = proposal(path)
    seems = f": it looks like {what}" if what else ""
    raise DataError(f"labelsieve cannot read '{path}'{seems}.", do or READABLE)


def _refuse_run(path: Path | None) -> None:
    """Raises DataError where somebody names the folder of a scan in place of its data."""
    if path is not None and all((path / name).is_file() for name in OF_A_RUN):
        run = shlex.quote(str(path))
        raise DataError(
            f"'{path}' is the folder of a scan, not data.",
            f"Look at it with labelsieve review {run} or labelsieve report {run}; "
            f"labelsieve score {run} DATA judges other data with it.",
        )


def _refuse_pointer(path: Path | None) -> None:
    """Raises DataError where a file was cloned without its content."""
    # here, as it needs this module
    from labelsieve.data.sources._known import PULL, is_pointer

    if path is not None and path.is_file() and is_pointer(path):
        raise DataError(
            f"'{readable(path)}' is a pointer of Git LFS and not the file itself.", PULL
        )


def refuse_options(spec: DataSpec, options: Sequence[str], why: str) -> None:
    """Raises DataError where the user gave an option that means nothing to a storage.

    Args:
        options: fields of DataSpec.
        why: a clause, for the message.
    """
    for option in options:
        if getattr(spec, option):
            flag = "--" + option.replace("_", "-")
            raise DataError(f"{flag} does not apply to '{spec.data}': {why}.")


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
