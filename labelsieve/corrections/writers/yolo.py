"""YOLO: the class number of a corrected box changes; the line of one that is left out goes.

Of a set of labels of a whole picture the lines of extra classes go; a missing one needs a box.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._annotations import changed_rows, check_known
from labelsieve.corrections.writers._files import FilesWriter, grouped
from labelsieve.data.labels import SET, read_set
from labelsieve.data.sources import Source
from labelsieve.data.sources._annotations import Picture
from labelsieve.data.sources.yolo import YoloSource, label_file
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import path_to_uri, sync, uri_to_path
from labelsieve.progress import plain


def accepts(source: Source) -> bool:
    """Is this a YOLO data set?"""
    return isinstance(source, YoloSource)


def open_writer(spec: DataSpec, source: YoloSource) -> Writer:
    """Open it."""
    return YoloWriter(spec, source.path)


class YoloWriter(FilesWriter):
    """Writes label files anew."""

    def _by_file(self, source: YoloSource, changes: Changes) -> Mapping[str, Changes]:
        # pictures of one label file are one, but boxes are many
        files = grouped()
        for picture, shape, label in changed_rows(source, changes):
            if shape is None and source.labels_are == SET:
                lines = _extra_lines(picture, label)
                files[path_to_uri(label_file(picture.name))].update(lines)
                continue
            if shape is None:
                raise DataError(
                    f"'{picture.name}' was judged as a whole, and its boxes have labels.",
                    "Scan with --items boxes to correct them.",
                )
            if label is not None:
                check_known(label, source, source.path)
            files[path_to_uri(label_file(picture.name))][shape.place] = label
        _refuse_shared(source, files)
        return files

    def _write(
        self, source: YoloSource, file: Path, changes: Changes, target: Path
    ) -> None:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        kept = []
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            label = changes.get(number, "")
            # empty lines are counted by the reader, too
            if number not in changes:
                kept.append(line)
            elif label is not None:
                old = line.split()[0]
                new = str(source.classes.index(label))
                # the first cell alone; what is around it stays
                kept.append(line.replace(old, new, 1))
        target.write_bytes("".join(kept).encode("utf-8", "surrogateescape"))
        sync(target)


def _extra_lines(picture: Picture, label: str | None) -> Changes:
    """Lines of boxes that go with the labels of a picture; all of one that is left out.

    Raises:
        DataError: a class has no box yet.
    """
    labels = read_set(label) if label else []
    having = {shape.label for shape in picture.shapes}
    added = [name for name in labels if name not in having]
    if added:
        raise DataError(
            f"'{plain(picture.name)}' needs a box of '{plain(added[0])}', and YOLO has no label "
            "without one.",
            "Draw it by hand, and apply only what takes labels away.",
        )
    return {s.place: None for s in picture.shapes if s.label not in labels}


def _refuse_shared(source: YoloSource, files: Container[str]) -> None:
    """Raises DataError where a line that changes is that of two pictures."""
    owners: dict[str, str] = {}
    for picture in source.pictures([]):
        uri = path_to_uri(label_file(picture.name))
        owner = owners.setdefault(uri, picture.name)
        # 0.jpg and 0.png have one 0.txt
        if owner != picture.name and uri in files:
            raise DataError(
                f"'{plain(owner)}' and '{plain(picture.name)}' share the label file"
                f" '{plain(uri_to_path(uri))}'.",
                "Rename one of both, and scan again.",
            )
