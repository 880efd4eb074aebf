"""COCO: the category id of a corrected annotation changes; what is left out is removed.

In sets of labels of whole pictures, annotations of extra classes are removed, and one without a box
is written for each missing class, behind all others.
"""

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
from labelsieve.data.labels import SET, read_set
from labelsieve.data.sources import Source
from labelsieve.data.sources._annotations import Picture
from labelsieve.data.sources.coco import CocoSource
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.progress import plain


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
        new: list[tuple[Any, Any]] = []
        sets = source.labels_are == SET
        for picture, shape, label in changes:
            if sets and label is not None:
                added, extra = _set_changes(source, picture, read_set(label))
                wanted.update(dict.fromkeys(extra))
                new += [(picture.place, ids[name]) for name in added]
                continue
            if label is not None:
                check_known(label, source, source.path)
            if shape is not None:
                wanted[shape.place] = label
                continue
            for own in _of_picture(source, picture.place, label):
                wanted[own] = label
            if label is None:
                gone_images.add(picture.place)
        yield from _annotations(text, wanted, ids, _entries(source, new))
        if gone_images:
            yield from _images(text, gone_images)


def _set_changes(
    source: CocoSource, picture: Picture, labels: list[str]
) -> tuple[list[str], list[Any]]:
    """Classes that a picture is to get, and ids of the annotations that it loses.

    Raises:
        DataError: a class that the file does not declare, or that needs a box.
    """
    for label in labels:
        check_known(label, source, source.path)
    own = [a for a in source.content.annotations if a[1] == picture.place]
    names = source.content.categories
    having = {names[category] for _, _, category, _ in own}
    added = [label for label in labels if label not in having]
    if added and any(box is not None for *_, box in own):
        raise DataError(
            f"'{plain(picture.name)}' needs a box of '{plain(added[0])}': its labels are boxes.",
            "Draw it by hand, and apply only what takes labels away.",
        )
    return added, [key for key, _, category, _ in own if names[category] not in labels]


def _entries(source: CocoSource, new: list[tuple[Any, Any]]) -> list[str]:
    """Annotations of whole pictures (image id, category id) as text, with ids of their own."""
    numbers = [a[0] for a in source.content.annotations if isinstance(a[0], int)]
    # ids are numbers to most readers, so new ones are, whatever the others are
    number = max(numbers, default=0)
    entries = []
    for image, category in new:
        number += 1
        entry = {"id": number, "image_id": image, "category_id": category}
        entries.append(json.dumps(entry, ensure_ascii=False))
    return entries


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
    text: str, wanted: dict[Any, str | None], ids: dict[str, Any], new: list[str]
) -> Iterator[Edit]:
    start_of_list = find(text, start_of(text), "annotations")[0]
    spans = list(elements(text, start_of_list))
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
    kept = [span for number, span in enumerate(spans) if number not in gone]
    if new and kept:
        end = kept[-1][1]
        yield Edit(end, end, ", " + ", ".join(new))
    elif new:
        # nothing is left before them: where the first one began, or behind the bracket
        begin = spans[0][0] if spans else start_of_list + 1
        yield Edit(begin, begin, ", ".join(new))


def _images(text: str, gone: set[Any]) -> Iterator[Edit]:
    spans = list(elements(text, find(text, start_of(text), "images")[0]))
    # by position: spans are those of the text
    numbers = set()
    for number, (start, end) in enumerate(spans):
        if json.loads(text[start:end])["id"] in gone:
            numbers.add(number)
    yield from without(spans, numbers)
