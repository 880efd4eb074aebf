"""CVAT for images, an XML file: boxes as crops, or whole pictures by their tags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from labelsieve.data.sources import refuse_options
from labelsieve.data.sources._annotations import (
    AnnotationSource,
    Box,
    Picture,
    Shape,
    items_of,
)
from labelsieve.data.sources._formats import named
from labelsieve.data.sources._guess import xml_kind
from labelsieve.data.sources._stores import (
    is_there,
    leads_out,
    open_store,
    where_pictures_are,
)
from labelsieve.data.sources.coco import NO_COLUMNS
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import Bounds, readable

AGAIN = "Export it again as 'CVAT for images 1.1'."
AT_ONCE = 1 << 20  # bytes that are parsed at a time
IGNORED = ("polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and xml_kind(path) == "cvat"


def _beside(path: Path) -> Path:
    """The folder of the pictures: the task that CVAT packs has them in "images"."""
    if (path.parent / "images").is_dir():
        return path.parent / "images"
    # FiftyOne writes them to "data", which may be anything elsewhere
    first = next((picture.name for picture in _pictures(path, [])), "")
    own = path.parent / "data"
    return (
        own if first and not leads_out(first) and is_there(own, first) else path.parent
    )


def open_source(spec: DataSpec) -> CvatSource:
    """Open it; raises DataError with what to do."""
    options = [name for name in NO_COLUMNS if name != "split"]
    refuse_options(spec, options, "CVAT annotations say what is what")
    path = Path(spec.data)
    root = _beside(path)
    homes: tuple[Path, ...] = ()
    if spec.root:
        names = (picture.name for picture in _pictures(path, []))
        root, homes = where_pictures_are(spec.root, root, names)
    # "images" may be a link itself
    elif not Bounds(path.parent).hold(root):
        raise DataError(
            f"'{readable(root)}' is a link that leads out of the data.",
            "Name the folder that the pictures are in with --root.",
        )
    # a dictionary keeps the order of the task, and each name once
    classes: dict[str, None] = {}
    for name in _declared(path):
        classes[name] = None
    return CvatSource(
        path,
        open_store(root, path.parent, *homes),
        lambda notes: _pictures(path, notes),
        list(classes),
        items_of(spec),
        spec.split,
        spec.labelled,
    )


class CvatSource(AnnotationSource):
    """Rows of a CVAT file."""


class Events:
    """Elements of an XML file as they pass; nothing of it is kept.

    Raises:
        DataError: it is damaged, or declares entities: those of strangers grow to gigabytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # expat and not ElementTree: it tells lines and bytes, and keeps nothing
        self.parser = expat.ParserCreate()
        # text in one piece, however the file is cut into parts
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.StartDoctypeDeclHandler = self._refuse

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, data: str) -> None:
        """Text in an element."""

    def _refuse(self, *_: Any) -> None:
        raise DataError(f"'{readable(self.path)}' declares entities.", "Remove them.")

    def parse(self) -> Iterator[None]:
        """Parse, a part after each step."""
        # an encoding that it names may be none, or one of several bytes: errors of many kinds
        with named(self.path, lambda: AGAIN, "CVAT"), self.path.open("rb") as file:
            while data := file.read(AT_ONCE):
                self.parser.Parse(data, False)
                yield
            # the end: what is still open is a fault now
            self.parser.Parse(b"", True)
            yield


class _Reader(Events):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.found: list[Picture] = []
        self.count = 0  # of boxes and tags, by which they are found again
        self.ignored: dict[str, int] = {}
        self._open: Picture | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "image":
            # its subset is the split
            picture = Picture(self._name(attributes), split=attributes.get("subset"))
            self._open = picture
        elif self._open is not None and name == "tag":
            self._open.labels.append(self._label(attributes))
            # of several tags the last; pictures with one are all that is corrected
            self._open.place = self._next()
        elif self._open is not None and name == "box":
            label, box = self._label(attributes), self._box(attributes)
            self._open.shapes.append(Shape(label, box, place=self._next()))
        elif self._open is not None and name in IGNORED:
            self.ignored[name] = self.ignored.get(name, 0) + 1

    def end(self, name: str) -> None:
        # only now it is whole, with all its boxes
        if name == "image" and self._open is not None:
            self.found.append(self._open)
            self._open = None

    def _next(self) -> int:
        self.count += 1
        return self.count - 1

    def _name(self, attributes: dict[str, str]) -> str:
        if not attributes.get("name"):
            raise self._fault("an image has no name")
        return attributes["name"]

    def _label(self, attributes: dict[str, str]) -> str:
        if not attributes.get("label"):
            raise self._fault("a box or tag has no label")
        return attributes["label"]

    def _box(self, attributes: dict[str, str]) -> Box:
        try:
            left, top, right, bottom = (
                float(attributes[edge]) for edge in ("xtl", "ytl", "xbr", "ybr")
            )
        except (KeyError, ValueError) as error:
            raise self._fault("a box has no corners") from error
        return Box(left, top, right - left, bottom - top)

    def _fault(self, fault: str) -> DataError:
        line = self.parser.CurrentLineNumber
        return DataError(
            f"'{readable(self.path)}' cannot be read as CVAT: {fault} (line {line}).",
            AGAIN,
        )


def _pictures(path: Path, notes: list[str]) -> Iterator[Picture]:
    reader = _Reader(path)
    for _ in reader.parse():
        # what one part of the file held; the next part adds its own
        yield from reader.found
        reader.found.clear()
    for name, count in reader.ignored.items():
        notes.append(
            f"{count} of the kind {name} were not read: only boxes and tags are"
        )


class _Declared(Events):
    """Names of labels in the meta part, which comes first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.names: list[str] = []
        self.done = False
        self._above: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._above.append(name)
        # the meta part ends where the first picture begins
        self.done = self.done or name == "image"
        if self._above[-2:] == ["label", "name"]:
            # its text follows, maybe in several pieces
            self.names.append("")

    def end(self, name: str) -> None:
        self._above.pop()

    def text(self, data: str) -> None:
        if self._above[-2:] == ["label", "name"]:
            self.names[-1] += data


def _declared(path: Path) -> list[str]:
    reader = _Declared(path)
    for _ in reader.parse():
        if reader.done:
            break
    # a name may end in a space, as boxes have it; what is over several lines is laid out
    names = [name.strip() if "\n" in name else name for name in reader.names]
    return [name for name in names if name.strip()]
