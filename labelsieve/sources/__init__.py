"""Where data lives: one storage per file.

A file of this room offers two functions:

    accepts(spec: DataSpec) -> bool          can this storage read what the user named?
    open_source(spec: DataSpec) -> Source    raises DataError with what to do

and its `Source` streams rows in a fixed order and finds one image again by its `uri`. A row's true label, where the user
named a column for it, goes to a table of its own that only scoring reads; no method ever sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from labelsieve import registry
from labelsieve.errors import DataError


@dataclass(frozen=True)
class DataSpec:
    """What the user said about the data: the command line's words, unchanged."""

    data: Any  # a path, a hub id, or in Python a data set object
    image_column: str | None = None
    label_column: str | None = None
    truth_column: str | None = None
    id_column: str | None = None
    root: str | None = None  # folder that image paths in a table are relative to
    split: str | None = None
    class_names: Mapping[str, str] = field(default_factory=dict)  # label -> how it is written into prompts
    template: str = "a photo of a {}."  # of plain prompts

    def path(self) -> Path | None:
        """`data` as a path, None when it is an object."""
        return Path(self.data) if isinstance(self.data, str | Path) else None


@dataclass(frozen=True, slots=True)
class Row:
    """One image as its source knows it, before it is read."""

    key: str  # relative path or row key, unique within the source
    uri: str  # what `Source.read` takes
    path: str  # what a person reads
    label: str | None
    truth: str | None = None
    split: str | None = None
    image: Any = field(default=None, repr=False)  # bytes, a path, or a picture that is already there


class Source(Protocol):
    """One data set, opened."""

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
    path = spec.path()
    for name in registry.names("sources"):
        room = registry.load("sources", name)
        if room.accepts(spec):
            source: Source = room.open_source(spec)
            return source
    if path is not None and not path.exists() and ("/" in str(path) or path.suffix):
        raise DataError(
            f"'{path}' does not exist.",
            "Give a folder of class folders, a CSV, TSV, JSONL or Parquet file, or hf://OWNER/NAME.",
        )
    raise DataError(
        f"'{spec.data}' is nothing labelsieve can read.",
        "Give a folder of class folders, a CSV, TSV, JSONL or Parquet file, a save_to_disk folder, or hf://OWNER/NAME.",
    )
