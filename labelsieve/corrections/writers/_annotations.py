"""Corrections of annotations in one file: only what names a class changes, to the byte."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelsieve.corrections.writers import Changes
from labelsieve.corrections.writers._single import FileWriter
from labelsieve.corrections.writers._spans import Edit, edited
from labelsieve.data.sources._annotations import AnnotationSource, Picture, Shape
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable, sync
from labelsieve.progress import plain

# A row that changes: its picture, its box if it is one, and its new label (None: left out).
Change = tuple[Picture, Shape | None, str | None]


class AnnotationWriter(FileWriter):
    """What the writers of annotation files share; `_write` is theirs."""

    def __init__(self, spec: DataSpec, source: AnnotationSource) -> None:
        super().__init__(spec, source.path, source.path.name)
        # an original that is kept lies elsewhere, and its pictures do not
        self._pictures = str(source.root)

    @property
    def _root(self) -> str:
        return self._pictures


class JsonWriter(AnnotationWriter):
    """What the writers of annotations in JSON share; `_edits` is theirs."""

    @abstractmethod
    def _edits(self, text: str, source: Any, changes: list[Change]) -> Iterator[Edit]:
        """What changes in the text; raises DataError where a label does not fit."""

    def _write(self, source: Any, changes: Changes, target: Path) -> None:
        text = source.path.read_bytes().decode("utf-8", "surrogateescape")
        chosen = list(changed_rows(source, changes))
        try:
            new = edited(text, self._edits(text, source, chosen))
        # JSON in which a name stands twice: readers differ in which of both they take
        except LookupError as error:
            raise DataError(
                f"'{readable(source.path)}' cannot be written back: {plain(str(error))}.",
                "Remove what is there twice, and scan again.",
            ) from error
        target.write_bytes(new.encode("utf-8", "surrogateescape"))
        # the step that puts it in place must not come to the disk before it
        sync(target)


def changed_rows(source: AnnotationSource, changes: Changes) -> Iterator[Change]:
    """The rows of changes, with what they are about."""
    for number, (picture, shape) in enumerate(source.places()):
        if number in changes:
            yield picture, shape, changes[number]


def check_known(label: str, source: AnnotationSource, where: Path) -> None:
    """Raises DataError where the data do not declare a class: their ids and order stay."""
    if label not in source.classes:
        raise DataError(
            f"'{readable(where)}' declares no class '{plain(label)}'.",
            f"Choose one of: {', '.join(source.classes)}.",
        )
