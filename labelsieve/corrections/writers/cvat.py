"""CVAT for images: the label of a corrected box or tag changes; what is left out is removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._annotations import (
    AnnotationWriter,
    changed_rows,
    check_known,
)
from labelsieve.data.sources import Source
from labelsieve.data.sources.cvat import CvatSource, Events
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable, sync

# The label of a tag, in either kind of quotes; attributes before it are passed over whole.
LABEL = re.compile(
    rb"""<\w+(?:\s+(?!label\b)[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s+label\s*=\s*"""
    rb"""("[^"]*"|'[^']*')"""
)
SPACE_BEFORE = re.compile(rb"[ \t]*\Z")


def accepts(source: Source) -> bool:
    """Are these annotations of CVAT?"""
    return isinstance(source, CvatSource)


def open_writer(spec: DataSpec, source: CvatSource) -> Writer:
    """Open it."""
    return CvatWriter(spec, source)


class CvatWriter(AnnotationWriter):
    """Writes the file with other labels."""

    def _write(self, source: Any, changes: Changes, target: Path) -> None:
        data = source.path.read_bytes()
        # a pass of its own: places are only needed where something changes
        where = _Places(source.path)
        for _ in where.parse():
            pass
        if where.encoding not in (None, "utf-8"):
            raise DataError(
                f"'{readable(source.path)}' is encoded as {where.encoding}.",
                "Save it as UTF-8.",
            )
        parts, position = [], 0
        for start, end, new in sorted(_spans(data, where, source, changes)):
            parts += [data[position:start], new]
            position = end
        target.write_bytes(b"".join([*parts, data[position:]]))
        sync(target)


def _spans(
    data: bytes, where: _Places, source: CvatSource, changes: Changes
) -> Iterator[tuple[int, int, bytes]]:
    for picture, shape, label in changed_rows(source, changes):
        # the number of a box or tag over the whole file
        place = picture.place if shape is None else shape.place
        if place is None:
            raise DataError(
                f"'{picture.name}' has no tag to change.", "Tag it in CVAT."
            )
        start, end = where.found[place]
        if label is None:
            yield _line(data, start, end)
            continue
        check_known(label, source, source.path)
        found = LABEL.match(data, start)
        if found is None:
            raise DataError(f"'{readable(source.path)}': a label was not found.")
        # line ends and tabs in a value would be read as spaces
        new = quoteattr(label, {"\n": "&#10;", "\t": "&#9;"})
        yield found.start(1), found.end(1), new.encode("utf-8")


def _line(data: bytes, start: int, end: int) -> tuple[int, int, bytes]:
    """An element with the spaces before it and the line end behind it."""
    # no line of a file is indented further than that
    space = SPACE_BEFORE.search(data, max(0, start - 200), start)
    if data[end : end + 2] == b"\r\n":
        end += 2
    elif data[end : end + 1] == b"\n":
        end += 1
    return (space.start() if space else start), end, b""


class _Places(Events):
    """Where each box and tag begins and ends, in bytes, as the reader counts them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[tuple[int, int]] = []
        self.encoding: str | None = None
        self.parser.XmlDeclHandler = self._declared
        self._inside = False
        self._start: int | None = None
        self._data = path.read_bytes()

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding.lower() if encoding else None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        # labels of the task are called "label", too
        if name == "image":
            self._inside = True
        elif self._inside and name in ("box", "tag"):
            # the reader counts at starts, this at ends: they agree where none is in another
            if self._start is not None:
                raise DataError(
                    f"'{readable(self.path)}': a {name} lies inside of a box or tag"
                    f" (line {self.parser.CurrentLineNumber}).",
                    "Export it again as 'CVAT for images 1.1'.",
                )
            self._start = self.parser.CurrentByteIndex

    def end(self, name: str) -> None:
        if name == "image":
            self._inside = False
        elif self._start is not None and name in ("box", "tag"):
            end = _end_of_tag(self._data, self._start)
            # of "<box/>" the parser tells another place than of "</box>"
            if self._data[end - 2 : end] != b"/>":
                end = self._data.index(b">", self.parser.CurrentByteIndex) + 1
            self.found.append((self._start, end))
            self._start = None


def _end_of_tag(data: bytes, start: int) -> int:
    """Behind the ">" of a tag, which may also stand in a value."""
    found = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""").match(data, start)
    return found.end() if found else start
