"""Data that is already in Python: (images, labels), or any torch Dataset that gives (image, label).

Images are PIL pictures, uint8 arrays [h, w], [h, w, 3] or [3, h, w], float arrays in [0, 1],
encoded bytes or paths. What a Dataset gives must be a picture before normalisation. Rows are
known by their position: "row17".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from labelsieve.data.labels import SET, SINGLE, write_set
from labelsieve.data.sources import Row, label_text
from labelsieve.data.sources.frames import is_frame
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError

OPTIONS_OF_TABLES = (
    *("image_column", "label_column", "truth_column", "id_column", "root", "split"),
)

# A label that is one of these is a set of labels.
COLLECTIONS = (set, frozenset, list, tuple)


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    if spec.path() is not None or type(spec.data).__module__.startswith("datasets."):
        return False
    # a table has rows and a length, too
    if is_frame(spec.data):
        return False
    return isinstance(spec.data, tuple) or (
        hasattr(spec.data, "__getitem__") and hasattr(spec.data, "__len__")
    )


def open_source(spec: DataSpec) -> ArraySource:
    """Open it; raises DataError with what to do."""
    for option in OPTIONS_OF_TABLES:
        if getattr(spec, option):
            raise DataError(f"{option} does not apply to data given as Python objects.")
    data = spec.data
    if isinstance(data, tuple):
        return _of_pair(data)
    # pictures alone, to be classified
    if not spec.labelled:
        count = len(data)
        return ArraySource(getattr(data, "iloc", data), [None] * count, [], count)
    classes = getattr(data, "classes", None)
    names = [] if classes is None else [str(name) for name in classes]
    return ArraySource(data, None, names)


def _of_pair(data: tuple[Any, ...]) -> ArraySource:
    """Rows of (images, labels)."""
    if len(data) != 2 or not all(hasattr(part, "__len__") for part in data):
        raise DataError(
            "A tuple of data must be (images, labels).", f"It has {len(data)} parts."
        )
    images, labels = data
    if len(images) != len(labels):
        raise DataError(
            f"There are {len(images)} images and {len(labels)} labels.",
            "Give one label per image.",
        )
    # one-hot rows would pass for sets of numbers
    if getattr(labels, "ndim", 1) > 1:
        raise DataError(
            "The label of row 0 is list, not one value.",
            "Give a class for each image, or a set of names for each.",
        )
    # pandas indexes by name, not by position: iloc and tolist cannot shift a row
    labels = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    return ArraySource(getattr(images, "iloc", images), labels, [], len(labels))


@dataclass
class ArraySource:
    """Rows of Python objects; `labels` None means that `items[i]` is (image, label)."""

    items: Any
    labels: list[Any] | None
    classes: list[str]  # as the data set declares them, in its order
    length: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def labels_are(self) -> str:
        """Of `labelsieve.data.labels`: SET where the labels of items are Python collections."""
        return SET if self._sets else SINGLE

    @cached_property
    def _sets(self) -> bool:
        # a Dataset that opens pictures would open them all for this
        return any(isinstance(label, COLLECTIONS) for label in self.labels or ())

    def rows(self) -> Iterator[Row]:
        length = len(self.items) if self.length is None else self.length
        for number in range(length):
            image, label = self._item(number)
            yield Row(
                key=f"row{number}",
                uri=str(number),
                path=f"row {number}",
                label=self._name(label, number),
                image=image,
            )

    def read(self, uri: str) -> Any:
        item = self.items[int(uri)]
        return item[0] if self.labels is None else item

    def _item(self, number: int) -> tuple[Any, Any]:
        """(image, label); the error in place of an image that a Dataset cannot open."""
        label = None if self.labels is None else self.labels[number]
        try:
            item = self.items[number]
        # a Dataset that opens files itself: the row stays, with this as its reason
        except Exception as error:
            return error, label
        if self.labels is not None:
            return item, label
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                f"Item {number} of the data set is {type(item).__name__}, not (image, label)."
            )
        return item[0], item[1]

    def _name(self, label: Any, number: int) -> str | None:
        # an empty collection is the empty set, None is no label
        if self._sets and label is not None:
            return self._set(label, number)
        return self._one(label, number)

    def _set(self, label: Any, number: int) -> str:
        if not isinstance(label, COLLECTIONS):
            raise DataError(
                f"The label of row {number} is {type(label).__name__}, and others are sets.",
                "Write a single label as a set of one.",
            )
        names = [self._one(one, number) for one in label]
        # [0, 1, 0] is no set of two numbers
        if len(set(names)) < len(names):
            raise DataError(
                f"The label of row {number} names '{names[0]}' or another class twice.",
                "Give the names of its classes; one-hot rows are not read.",
            )
        return write_set(name for name in names if name is not None)

    def _one(self, label: Any, number: int) -> str | None:
        try:
            # numpy and torch have numbers of their own
            value = label.item() if hasattr(label, "item") else label
            if isinstance(value, (dict, *COLLECTIONS)):
                raise ValueError
        # several numbers: one-hot or multi-label
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"The label of row {number} is {type(label).__name__}, not one value."
            ) from error
        return label_text(value, self.classes)
