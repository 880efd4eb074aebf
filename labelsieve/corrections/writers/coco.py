"""COCO: the category id of a corrected annotation changes; what is left out is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from labelsieve.corrections.writers import Writer
from labelsieve.corrections.writers._annotations import (
    Change,
    JsonWriter,
    check_known,
)
from labelsieve.corrections.writers._spans import (
    Edit,
    elements,
    find,
    start_of,
    without,
)
from labelsieve.data.sources import Source
from labelsieve.data.sources.coco import CocoSource
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError


def accepts(source: Source) -> bool:
    """Are these annotations of COCO?"""
    return isinstance(source, CocoSource)


def open_writer(spec: DataSpec, source: CocoSource) -> Writer:
    """Open it."""
    return CocoWriter(spec, source)


class CocoWriter(JsonWriter):
    """Writes the file with other category ids."""

    def _edits(
        self, text: str, source: CocoSource, changes: list[Change]
    ) -> Iterator[Edit]:
        ids = {name: number for number, name in source.content.categories.items()}
        wanted: dict[Any, str | None] = {}
        # a picture that is left out goes with its annotation
        gone_images = set()
        for picture, shape, label in changes:
            if label is not None:
                check_known(label, source, source.path)
            if shape is not None:
                wanted[shape.place] = label
                continue
            for own in _of_picture(source, picture.place, label):
                wanted[own] = label
            if label is None:
                gone_images.add(picture.place)
        yield from _annotations(text, wanted, ids)
        if gone_images:
            yield from _images(text, gone_images)


def _of_picture(source: CocoSource, image: Any, label: str | None) -> list[Any]:
    """Ids of the annotations of a picture that is judged as a whole."""
    own = [a[0] for a in source.content.annotations if a[1] == image]
    # without one, there is none to change; of several, it would be guessed which
    if len(own) != 1 and label is not None:
        raise DataError(
            f"Image {image} of '{source.path}' has {len(own)} annotations, not one.",
            "Correct it by hand, or judge boxes (--items boxes).",
        )
    return own


def _annotations(
    text: str, wanted: dict[Any, str | None], ids: dict[str, Any]
) -> Iterator[Edit]:
    spans = list(elements(text, find(text, start_of(text), "annotations")[0]))
    gone = set()
    for number, (start, end) in enumerate(spans):
        # numbers of the data as text have every digit; ids are compared as JSON has them
        key = json.loads(text[start:end])["id"]
        if key not in wanted:
            continue
        label = wanted[key]
        if label is None:
            # all at once below, as commas go with them
            gone.add(number)
        else:
            yield Edit(*find(text, start, "category_id"), json.dumps(ids[label]))
    yield from without(spans, gone)


def _images(text: str, gone: set[Any]) -> Iterator[Edit]:
    spans = list(elements(text, find(text, start_of(text), "images")[0]))
    # by position: spans are those of the text
    numbers = set()
    for number, (start, end) in enumerate(spans):
        if json.loads(text[start:end])["id"] in gone:
            numbers.add(number)
    yield from without(spans, numbers)
