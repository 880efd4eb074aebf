"""Which noise, and what its model needs beside the labels: a matrix, targets, or the pictures."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from labelsieve.data.images import decode, from_object, read_bytes
from labelsieve.data.labels import Labels
from labelsieve.data.load import read_class_names
from labelsieve.data.sources import Row, Source
from labelsieve.errors import ImageError, OptionError, unknown
from labelsieve.files import refuse_endless
from labelsieve.noise.generators.asymmetric import CIFAR10

SIDE = 32  # pixels: CIFAR's size, for which instance noise was published


@dataclass(frozen=True)
class Plan:
    """Which noise.

    Attributes:
        kind: a file of `labelsieve/noise/generators/`.
        matrix: file for class-conditional noise: CSV of numbers, rows true and columns given
            classes in sorted order, or JSON {"true": {"given": share}} of what is mistaken.
        map: file for asymmetric noise: JSON {"class": "taken for"}, or lines class,taken-for.
        recorded: column for recorded noise.
        centre: instance noise without the mean picture.
        added: of sets, labels put in for each that is there.
        limit: only so many images, the same ones whatever the noise and its seed; a smaller
            limit takes a part of them.
    """

    kind: str
    rate: float | None = None
    seed: int = 0
    matrix: Path | None = None
    map: Path | None = None
    recorded: str | None = None
    centre: bool = False
    added: float = 0.0
    limit: int | None = None


@dataclass(frozen=True)
class Labelled:
    """The rows of a data set and the true labels of those that have some.

    Attributes:
        rows: all of them, without pictures.
        truth: true label of each row, a set as `write_set` writes it, None where there is none.
        known: [n] int, numbers of the rows that have all labels they need.
        coding: of which kind the labels are, and of which classes, in sorted order.
    """

    rows: list[Row]
    truth: list[str | None]
    known: np.ndarray
    coding: Labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in sorted order."""
        return self.coding.classes

    @cached_property
    def number(self) -> dict[str, int]:
        """Class number by name."""
        return {name: number for number, name in enumerate(self.classes)}

    @cached_property
    def labels(self) -> np.ndarray:
        """[n] int64, the true class of each known row; of sets [n, k] bool."""
        texts = [self.truth[row] for row in self.known]
        return self.coding.encode(pa.chunked_array([pa.array(texts, pa.string())]))

    def with_labels(self, noisy: np.ndarray) -> list[str | None]:
        """The label of every row when the known ones have `noisy`, which is as `labels` are."""
        # rows that are not known keep what they have, so that none is lost
        given = [row.label for row in self.rows]
        texts = self.coding.decode(noisy).to_pylist()
        for row, text in zip(self.known, texts, strict=True):
            given[row] = text
        return given


def context_of(
    plan: Plan, source: Source, labelled: Labelled
) -> tuple[dict[str, Any], np.ndarray]:
    """What the noise model needs, and which of the known rows, [n] bool, have what it needs."""
    readable = np.ones(len(labelled.known), dtype=bool)
    if plan.kind == "class-conditional" and plan.matrix is not None:
        return {"matrix": read_matrix(plan.matrix, labelled.classes)}, readable
    if plan.kind == "asymmetric":
        return {"targets": _targets(plan, labelled)}, readable
    if plan.kind == "recorded":
        return {"recorded": _recorded(labelled)}, readable
    if plan.kind == "instance":
        _need_pictures(source)
        pixels, readable = _all_pixels(source, labelled)
        return {"pixels": pixels, "centre": plan.centre}, readable
    if plan.kind == "sets":
        return {"added": plan.added}, readable
    return {}, readable  # the others look at labels alone


def _need_pictures(source: Source) -> None:
    if getattr(source, "modality", "images") != "images":
        raise OptionError(
            "Instance noise looks at pictures; the data are texts.",
            "Take another --kind, such as symmetric.",
        )


def _recorded(labelled: Labelled) -> np.ndarray:
    """[n] int64, the class that each known row was given."""
    numbers = [labelled.number[str(labelled.rows[row].label)] for row in labelled.known]
    return np.array(numbers, dtype=np.int64)


def _all_pixels(source: Source, labelled: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, s] of the known rows, black where unreadable, and which, [n] bool, are readable."""
    # a set, as `in` of an array would look through all of it for every row
    wanted = set(labelled.known.tolist())
    # in the place of a picture that cannot be read, whose label is left alone afterwards
    blank = np.zeros(SIDE * SIDE * 3, dtype=np.uint8)
    pictures = []
    readable = []
    for number, row in enumerate(source.rows()):
        if number in wanted:
            pixels = _pixels(row)
            readable.append(pixels is not None)
            pictures.append(blank if pixels is None else pixels)
    return np.stack(pictures), np.array(readable)


def _pixels(row: Row) -> np.ndarray | None:
    """uint8 [s], pixel by pixel; None where the image cannot be read."""
    try:
        picture = _picture(row.image)
    except ImageError:
        return None
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(-1)


def _picture(item: Any) -> Image.Image:
    # None goes the way of files and is told as an empty one
    if item is None or isinstance(item, bytes | str | Path):
        return decode(read_bytes(item))
    return from_object(item)


def _targets(plan: Plan, labelled: Labelled) -> np.ndarray:
    """[k] int, the class that each class is taken for, -1 for none."""
    number = labelled.number
    # without a map CIFAR-10's, which fits only data that have its very classes
    taken = CIFAR10 if plan.map is None else read_class_names(plan.map)
    _check_taken(plan, taken, labelled.classes)
    # the generators' word for "taken for none"
    targets = np.full(len(labelled.classes), -1)
    for name, other in taken.items():
        targets[number[name]] = number[other]
    return targets


def _check_taken(plan: Plan, taken: dict[str, str], classes: tuple[str, ...]) -> None:
    """Raises OptionError for a class that the data do not have."""
    strange = [name for pair in taken.items() for name in pair if name not in classes]
    if strange and plan.map is None:
        raise OptionError(
            "Asymmetric noise needs --map FILE: which class is taken for which.",
            "JSON, or lines class,taken-for.",
        )
    if strange:
        problem = unknown("Class", strange[0], classes)
        raise OptionError(f"--map '{plan.map}': {problem}")


def read_matrix(path: Path, classes: tuple[str, ...]) -> np.ndarray:
    """[k, k] of a file: see `Plan`.

    Raises:
        OptionError: not there, not readable, or of other classes.
    """
    # all that it may be instead: no numbers, an unknown class, JSON of another shape
    try:
        refuse_endless(path)
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a BOM
        if path.suffix == ".json":
            return _matrix_of(json.loads(text), classes)
        return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
    except OSError as error:
        raise OptionError(
            f"--matrix '{path}' cannot be opened: {error.strerror}.",
            "Give a CSV or JSON file.",
        ) from error
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise OptionError(
            f"--matrix '{path}' cannot be read: {error}.",
            f"The classes are: {', '.join(classes)}.",
        ) from error


def _matrix_of(mistaken: Any, classes: tuple[str, ...]) -> np.ndarray:
    """[k, k] of {"true": {"given": share}}; what is not mistaken stays right."""
    matrix = np.eye(len(classes))
    for true, others in mistaken.items():
        for given, share in others.items():
            row = classes.index(true)
            column = classes.index(given)
            if row != column:
                matrix[row, column] = float(share)
                # the diagonal is what the mistakes leave
                matrix[row, row] -= float(share)
    return matrix
