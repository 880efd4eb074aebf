"""Data that is already in Python: (images, labels), or any torch Dataset that gives (image, label).

Images are PIL pictures, uint8 arrays [h, w], [h, w, 3] or [3, h, w], float arrays in [0, 1], encoded bytes or paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelsieve.errors import DataError
from labelsieve.sources import DataSpec, Row


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    if spec.path() is not None or type(spec.data).__module__.startswith("datasets."):
        return False
    return isinstance(spec.data, tuple) or (hasattr(spec.data, "__getitem__") and hasattr(spec.data, "__len__"))


def open_source(spec: DataSpec) -> ArraySource:
    """Open it; raises DataError with what to do."""
    for option in ("image_column", "label_column", "truth_column", "id_column", "root", "split"):
        if getattr(spec, option):
            raise DataError(f"{option} does not apply to data given as Python objects.")
    if not isinstance(spec.data, tuple):
        return ArraySource(spec.data, None, list(getattr(spec.data, "classes", []) or []))
    if len(spec.data) != 2 or len(spec.data[0]) != len(spec.data[1]):
        raise DataError("A tuple of data must be (images, labels) of the same length.", f"Got {len(spec.data)} parts.")
    return ArraySource(spec.data[0], spec.data[1], [])


@dataclass
class ArraySource:
    """Rows of Python objects; `labels` None means that `items[i]` is (image, label)."""

    items: Any
    labels: Sequence[Any] | None
    class_names: list[str]
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        for number in range(len(self.items)):
            try:
                image, label = self.items[number] if self.labels is None else (self.items[number], self.labels[number])
            except OSError as error:  # a Dataset that opens files itself
                image, label = error, None
            yield Row(key=f"row{number}", uri=str(number), path=f"row {number}", label=self._name(label), image=image)

    def read(self, uri: str) -> Any:
        item = self.items[int(uri)]
        return item[0] if self.labels is None else item

    def _name(self, label: Any) -> str | None:
        if label is None or (isinstance(label, float) and np.isnan(label)):
            return None
        value = label.item() if hasattr(label, "item") else label
        if isinstance(value, int) and 0 <= value < len(self.class_names):
            return str(self.class_names[value])
        return str(value)
