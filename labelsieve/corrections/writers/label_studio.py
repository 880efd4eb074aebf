"""Label Studio's JSON: the choice in an answer changes; what is left out is removed.

Answers of several people are not rewritten: they are what these people said.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from labelsieve.corrections.writers import Writer
from labelsieve.corrections.writers._annotations import Change, JsonWriter
from labelsieve.corrections.writers._spans import (
    Edit,
    elements,
    find,
    members,
    start_of,
    without,
)
from labelsieve.data.sources import Source
from labelsieve.data.sources._annotations import Picture
from labelsieve.data.sources.label_studio import LabelStudioSource, Tasks
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable


def accepts(source: Source) -> bool:
    """Are these answers of Label Studio?"""
    return isinstance(source, LabelStudioSource)


def open_writer(spec: DataSpec, source: LabelStudioSource) -> Writer:
    """Open it."""
    return LabelStudioWriter(spec, source)


class LabelStudioWriter(JsonWriter):
    """Writes the tasks with other choices."""

    def _edits(
        self, text: str, source: LabelStudioSource, changes: list[Change]
    ) -> Iterator[Edit]:
        tasks = Tasks(source.path, self._spec.image_column, self._spec.label_column)
        # the short form comes out of this in the long one, with places that the text lacks
        entries = tasks.entries()
        content = json.loads(text.removeprefix("\ufeff"))
        alone = isinstance(content, dict)
        if not alone and "data" not in content[0]:
            raise DataError(
                f"'{readable(source.path)}' has the short form of answers (JSON-MIN).",
                "Export it from Label Studio as JSON, and scan that.",
            )
        begin = start_of(text)
        # one span per task
        spans = [(begin, len(text))] if alone else list(elements(text, begin))
        gone_tasks: set[int] = set()
        # of one answer all boxes that go, as commas go with them
        gone_results: dict[tuple[int, int], set[int]] = defaultdict(set)
        for picture, shape, label in changes:
            # a picture that is left out goes with its whole task
            if shape is None and label is None and alone:
                raise DataError(
                    f"'{readable(source.path)}' holds one task, which is to be left out.",
                    "Delete the file, or keep its picture.",
                )
            if shape is None and label is None:
                gone_tasks.add(picture.place)
            elif shape is None:
                start = spans[picture.place][0]
                yield _choice(
                    text, start, tasks, entries[picture.place], picture, label
                )
            elif label is None:
                task, answer, result = shape.place
                gone_results[task, answer].add(result)
            else:
                task, answer, result = shape.place
                where = ("annotations", answer, "result", result)
                path = (*where, "value", "rectanglelabels", 0)
                yield Edit(*_find(text, spans[task][0], *path), _text(label))
        for (task, answer), results in gone_results.items():
            start, _ = _find(text, spans[task][0], "annotations", answer, "result")
            yield from without(list(elements(text, start)), results)
        yield from without(spans, gone_tasks)


def _choice(
    text: str,
    start: int,
    tasks: Tasks,
    entry: dict[str, Any],
    picture: Picture,
    label: str | None,
) -> Edit:
    """The choice of the one answer that a task has; without any, our own label of it."""
    places = []
    for answer in tasks.answers(entry):
        places += [place for place, one in answer if one.get("type") == "choices"]
    # a task that labelsieve exported and nobody answered
    if not places and isinstance(entry["data"].get("label"), str):
        return Edit(*_find(text, start, "data", "label"), _text(label))
    if len(places) != 1:
        raise DataError(
            f"Task {entry.get('id')} of '{readable(tasks.path)}' has {len(places)} answers"
            ", not one.",
            "Correct it in Label Studio.",
        )
    # numbers of the answer in its task and of the choice in it
    ((answer_number, result),) = places
    path = ("annotations", answer_number, "result", result, "value", "choices", 0)
    return Edit(*_find(text, start, *path), _text(label))


def _find(text: str, start: int, *path: str | int) -> tuple[int, int]:
    """As `find`, in a task; also where an answer has its task in it."""
    names = {name for name, *_ in members(text, start)}
    if "data" in names:
        return find(text, start, *path)
    # what is left of "annotations", 0, "result", ...
    own = path[2:] if path[0] == "annotations" else ("task", *path)
    return find(text, start, *own)


def _text(label: str | None) -> str:
    return json.dumps(label, ensure_ascii=False)
