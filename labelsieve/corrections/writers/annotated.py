"""Several annotation files: only those with corrected rows are written anew, each in its way."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelsieve.corrections.writers import (
    Changes,
    Writer,
    coco,
    cvat,
    label_studio,
)
from labelsieve.corrections.writers._annotations import check_known
from labelsieve.corrections.writers._files import FilesWriter, grouped
from labelsieve.data.labels import SET
from labelsieve.data.sources import Source
from labelsieve.data.sources.annotated import AnnotatedSource
from labelsieve.data.spec import DataSpec
from labelsieve.files import path_to_uri


def accepts(source: Source) -> bool:
    """Are these several annotation files?"""
    return isinstance(source, AnnotatedSource)


def open_writer(spec: DataSpec, source: AnnotatedSource) -> Writer:
    """Open it."""
    return AnnotatedWriter(spec, source.top)


class AnnotatedWriter(FilesWriter):
    """Writes annotation files anew."""

    def _by_file(
        self, source: AnnotatedSource, changes: Changes
    ) -> Mapping[str, Changes]:
        files = grouped()
        parts = source.parts()
        # rows were counted while the source was listed
        for number, label in changes.items():
            at = bisect.bisect_right(source.starts, number) - 1
            name = source.names[at]
            # the file itself has to declare a class, whatever the others do
            declares = not label_studio.accepts(parts[name])
            if label is not None and declares and source.labels_are != SET:
                check_known(label, parts[name], source.top / name)
            files[path_to_uri(name)][number - source.starts[at]] = label
        return files

    def _images(self, source: AnnotatedSource) -> Iterator[Any]:
        # a picture without a box is listed, too
        for part in source.parts().values():
            yield from part.images()

    def _write(
        self, source: AnnotatedSource, file: Path, changes: Changes, target: Path
    ) -> None:
        (part,) = [p for p in source.parts().values() if p.path == file]
        (room,) = [r for r in (coco, cvat, label_studio) if r.accepts(part)]
        writer: Any = room.open_writer(replace(self._spec, data=file), part)
        writer._write(part, changes, target)
