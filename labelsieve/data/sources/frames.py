"""Tables that are already in Python: pandas and polars data frames, Arrow tables, dicts of columns.

Columns are named as for a table on disk. Pictures are paths, encoded bytes, PIL pictures or arrays;
texts are strings.
Rows are known by `id_column`, else by the index of a pandas frame, else by position ("row17").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelsieve.data.labels import SINGLE
from labelsieve.data.sources import Row, label_text
from labelsieve.data.sources._columns import IMAGES, LABEL_NAMES, TEXTS, item_column
from labelsieve.data.sources._labels import Labelling, of_column
from labelsieve.data.sources._texts import cell
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    return is_frame(spec.data)


def is_frame(data: Any) -> bool:
    """Whether an object has named columns.

    Libraries are told by what their frames offer: none is imported for this.
    """
    if isinstance(data, Mapping | pa.Table):
        return True
    # `columns` alone has many a thing; of frames it is names
    return hasattr(data, "columns") and (
        hasattr(data, "iloc") or hasattr(data, "get_column")
    )


def open_source(spec: DataSpec) -> FrameSource:
    """Open it; raises DataError with what to do."""
    frame = spec.data
    # as on disk: what the user names, else what such columns are usually called
    names = _names(frame)
    modality, image = item_column(spec, names, "The frame")
    label = None
    if spec.labelled or spec.label_column:
        label = _pick(spec.label_column, "label_column", LABEL_NAMES, names)
    for option in ("truth_column", "id_column"):
        column = getattr(spec, option)
        if column is not None and column not in names:
            raise DataError(f"{option}: {unknown('Column', column, names)}")
    keys = _cells(frame, spec.id_column) if spec.id_column else _index(frame)
    images = _cells(frame, image)
    # lists and not columns: sources are read row by row, from several threads
    source = FrameSource(
        images=images,
        labels=_optional(frame, label, len(images)),
        truths=_optional(frame, spec.truth_column, len(images)),
        splits=_optional(frame, "split" if "split" in names else None, len(images)),
        keys=_keys(keys, len(images), spec.id_column or "the index"),
        root=Path(spec.root) if spec.root else None,
        split=spec.split,
        modality=modality,
        separator=spec.label_separator,
    )
    source.check_lengths()
    return source


def _names(frame: Any) -> list[str]:
    if isinstance(frame, pa.Table):
        return list(frame.column_names)
    return [
        str(name) for name in (frame if isinstance(frame, Mapping) else frame.columns)
    ]


def _pick(
    named: str | None, option: str, usual: Sequence[str], names: Sequence[str]
) -> str:
    """The column that the user named, or the first one with a usual name."""
    if named is not None:
        if named not in names:
            raise DataError(f"{option}: {unknown('Column', named, names)}")
        return named
    for name in usual:
        if name in names:
            return name
    raise DataError(
        f"No column is named like a column of {option.partition('_')[0]}s; there are: "
        f"{', '.join(names)}.",
        f"Name it with {option}=.",
    )


def _cells(frame: Any, name: str) -> list[Any]:
    """The values of a column, as Python objects."""
    column = frame[name]
    for way in ("to_list", "to_pylist", "tolist"):
        if hasattr(column, way):
            # an array of pictures stays one: its rows are pictures, and no lists of numbers
            return (
                list(column)
                if getattr(column, "ndim", 1) > 1
                else getattr(column, way)()
            )
    return list(column)


def _optional(frame: Any, name: str | None, count: int) -> list[Any]:
    return [None] * count if name is None else _cells(frame, name)


def _index(frame: Any) -> list[Any] | None:
    """What pandas knows its rows by; the other libraries have no such thing."""
    index = getattr(frame, "index", None)
    if index is None or callable(index):
        return None
    return list(index.tolist())


def _keys(values: list[Any] | None, count: int, where: str) -> list[str]:
    """A key for each row, unique."""
    if values is None:
        return [f"row{number}" for number in range(count)]
    keys = []
    seen = set()
    for number, value in enumerate(values):
        key = label_text(value)
        if key is None or key in seen:
            problem = "is empty" if key is None else f"'{key}' stands twice"
            raise DataError(
                f"Row {number}: {problem} in {where}.",
                "Rows are joined by it: make it unique, as with reset_index().",
            )
        seen.add(key)
        keys.append(key)
    return keys


# A label that is one of these is a set of labels.
SEVERAL = (set, frozenset, list, tuple, np.ndarray)


@dataclass
class FrameSource:
    """Rows of a table in memory, column by column; all columns have the same length."""

    images: list[Any]
    labels: list[Any]
    truths: list[Any]
    splits: list[Any]
    keys: list[str]
    root: Path | None
    split: str | None
    modality: str = IMAGES
    separator: str | None = None  # of sets in one text
    notes: list[str] = field(default_factory=list)

    @property
    def labels_are(self) -> str:
        """Of `labelsieve.data.labels`: SET of collections, and of texts with a separator."""
        return self._labelling.kind

    @cached_property
    def _labelling(self) -> Labelling:
        if any(isinstance(label, SEVERAL) for label in self.labels):
            return Labelling(("label",), "list")
        return of_column("label", pa.string(), self.separator)

    def _label(self, label: Any, number: int) -> str | None:
        """A label as text; a collection, or a text with the separator, as a set."""
        if self._labelling.kind == SINGLE:
            return _one(label, number)
        if self._labelling.form == "list" and not isinstance(label, SEVERAL):
            # of pandas, NaN is what is missing
            if label_text(label) is None:
                return None
            raise DataError(
                f"The label of row {number} is {type(label).__name__}, and others are lists.",
                "Write a single label as a list of one.",
            )
        return self._labelling.truth(label, None)

    def check_lengths(self) -> None:
        """Raises DataError where columns of a dict have different lengths."""
        for column in (self.labels, self.truths, self.splits, self.keys):
            if len(column) != len(self.images):
                raise DataError(
                    f"Columns have {len(self.images)} and {len(column)} rows.",
                    "Give one value per image in each.",
                )

    def rows(self) -> Iterator[Row]:
        for number, key in enumerate(self.keys):
            split = label_text(self.splits[number])
            if self.split is not None and split != self.split:
                continue
            image = self._image(number)
            shown = isinstance(image, str | Path) and self.modality == IMAGES
            # of a picture in memory a person sees which row it is
            yield Row(
                key=key,
                uri=str(number),
                path=str(self.images[number])
                if shown
                else f"row {key.removeprefix('row')}",
                label=self._label(self.labels[number], number),
                truth=self._label(self.truths[number], number),
                split=split,
                image=image,
            )

    def read(self, uri: str) -> Any:
        """The picture of a row again."""
        return self._image(int(uri))

    def _image(self, number: int) -> Any:
        image = self.images[number]
        if self.modality == TEXTS:
            # NaN is what pandas has for an empty cell
            return cell(None if label_text(image) is None else image)
        # as `datasets` stores pictures
        if isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        if isinstance(image, str) and self.root is not None:
            return self.root / image
        return image


def _one(label: Any, number: int) -> str | None:
    """A label as text; DataError where it is several values."""
    # numpy and torch have numbers of their own
    value = label.item() if getattr(label, "ndim", None) == 0 else label
    several = isinstance(value, list | tuple | dict | set)
    if several or getattr(value, "ndim", 0) > 0:
        raise DataError(
            f"The label of row {number} is {type(label).__name__}, not one value."
        )
    return label_text(value)
