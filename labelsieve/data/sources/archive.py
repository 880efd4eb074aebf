"""The official archive of a benchmark, named archive:NAME:FOLDER; NAME is one of `data/archives`.

`archive:cifar100:downloads/cifar` needs no conversion: pictures are read where the archive has
them. --split names one of its parts, --label-column and --truth-column one of its label sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelsieve import registry
from labelsieve.data.sources import Row
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import path_to_uri, readable, uri_to_path

PREFIX = "archive:"
PART = "train"  # where no split is named


@dataclass(frozen=True, eq=False)
class Listing:
    """One part of an archive, n images in the archive's own order.

    keys: [n] names of the images, each once: relative paths where the archive holds files.
    labels: name of a label set -> [n] labels, None for an image that has none in it; the first
        set is the given one.
    picture: key -> encoded bytes, a path, a picture, or the error that stands in the way.
    names: label -> how it is written into prompts, where the label itself is no word.
    notes: what a person should know of, as in `Source`.
    classes: every class of the archive, in its own order.
    """

    keys: Sequence[str]
    labels: dict[str, Sequence[str | None]]
    picture: Callable[[str], Any]
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    classes: Sequence[str] = ()


def named(data: str, split: str | None = None) -> DataSpec:
    """archive:NAME:FOLDER with its label sets and class names.

    Raises:
        OptionError: there is no such archive.
        DataError: the folder does not hold it; says what is missing.
    """
    name, folder = _parts(data)
    spec: DataSpec = registry.load("data/archives", name).open(
        Path(folder), split or PART
    )
    return spec


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    return isinstance(spec.data, str) and spec.data.startswith(PREFIX)


def open_source(spec: DataSpec) -> ArchiveSource:
    """Open it; raises DataError with what to do."""
    for option in ("image_column", "id_column", "root"):
        if getattr(spec, option):
            raise DataError(
                f"--{option.replace('_', '-')} does not apply to '{spec.data}'.",
                "Leave it out.",
            )
    name, folder = _parts(spec.data)
    listing: Listing = registry.load("data/archives", name).read(
        Path(folder), spec.split or PART
    )
    # a wrong name is told here; while rows are read it would be no more than a KeyError
    for flag, column in (
        ("--label-column", spec.label_column),
        ("--truth-column", spec.truth_column),
    ):
        if column is not None and column not in listing.labels:
            raise DataError(
                f"{flag}: {unknown('Label set', column, listing.labels)}",
                f"Data: '{spec.data}'.",
            )
    given = spec.label_column
    if given is None and spec.labelled:
        given = next(iter(listing.labels))
    return ArchiveSource(listing, given, spec.truth_column, spec.split or PART)


def _parts(data: str) -> tuple[str, str]:
    """Name and folder of archive:NAME:FOLDER."""
    # a folder may have colons of its own; padded, so that a missing one is empty
    _, name, folder = [*data.split(":", 2), "", ""][:3]
    if not folder:
        raise DataError(
            f"'{data}' names no folder.",
            "Write archive:NAME:FOLDER, for example archive:cifar100:downloads.",
        )
    return name, folder


@dataclass
class ArchiveSource:
    """The images of one part of an archive."""

    listing: Listing
    given: str | None
    truth: str | None
    split: str

    @property
    def notes(self) -> list[str]:
        """What is not as in the whole archive."""
        return self.listing.notes

    @property
    def classes(self) -> Sequence[str]:
        """In the archive's own order."""
        return self.listing.classes

    def rows(self) -> Iterator[Row]:
        """Rows in the archive's order."""
        given, truth = self._labels(self.given), self._labels(self.truth)
        for key, label, true in zip(self.listing.keys, given, truth, strict=True):
            uri = path_to_uri(key)
            yield Row(
                uri,
                uri,
                readable(key),
                label,
                true,
                self.split,
                self.listing.picture(key),
            )

    def _labels(self, name: str | None) -> Sequence[str | None]:
        if name is None:
            return [None] * len(self.listing.keys)
        return self.listing.labels[name]

    def read(self, uri: str) -> Any:
        """The image of one row again."""
        return self.listing.picture(uri_to_path(uri))
