"""Annotations beside pictures: whole pictures by their labels, or boxes as crops.

Of boxes the classes are judged; where they are is taken as it is.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from labelsieve.data.images import decoded, read_bytes
from labelsieve.data.labels import SET, SINGLE, write_set
from labelsieve.data.sources import Row
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._labels import Tally
from labelsieve.data.sources._remote import remote_of, url_of
from labelsieve.data.sources._stores import Missing, Store, leads_out
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, OptionError
from labelsieve.files import path_to_uri, readable, uri_to_path
from labelsieve.progress import counted

BOXES, IMAGES = "boxes", "images"  # what --items may say
# The uri of a box: pixels ("box") or shares of both sides ("part"), and the picture.
BOX = re.compile(r"(box|part):([^:]+):(.*)", re.DOTALL)
# Bytes of a decoded picture that each thread keeps for the next box of it; a larger one is
# decoded for each of its boxes.
KEPT = 4 << 20


@dataclass(frozen=True, slots=True)
class Box:
    """Left, top, width and height: pixels, or shares of the sides of the picture."""

    left: float
    top: float
    width: float
    height: float
    shares: bool = False

    def text(self) -> str:
        """As a uri has it; every digit is kept."""
        kind = "part" if self.shares else "box"
        sides = (self.left, self.top, self.width, self.height)
        return f"{kind}:{','.join(f'{side:.17g}' for side in sides)}"

    def shown(self) -> str:
        """For people."""
        sides = (self.left, self.top, self.width, self.height)
        digits = 3 if self.shares else 0
        return f"[{', '.join(f'{side:.{digits}f}' for side in sides)}]"

    def pixels(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge in a picture of this size, at least one pixel apart.

        Raises:
            ImageError: it has no area, or lies outside.
        """
        # shares become pixels, which stay what they are
        scale = size if self.shares else (1, 1)
        edges = []
        for start, length, side, most in (
            (self.left, self.width, scale[0], size[0]),
            (self.top, self.height, scale[1], size[1]),
        ):
            low, high = start * side, (start + length) * side
            if not (math.isfinite(low) and math.isfinite(high) and length > 0):
                raise ImageError("the box has no area")
            # the nearest pixels: shares are written with six digits
            first, last = max(0, round(low)), min(most, round(high))
            if first >= last:
                first = math.floor(low)
                last = first + 1
            if first < 0 or last > most:
                raise ImageError("the box lies outside of the picture")
            edges.append((first, last))
        (left, right), (upper, lower) = edges
        return left, upper, right, lower


@dataclass(frozen=True, slots=True)
class Shape:
    """A box with a label.

    Attributes:
        key: its id in the data, where it has one.
        place: what finds it again in the file that says so, for corrections.
    """

    label: str | None
    box: Box
    key: str | None = None
    place: Any = None


@dataclass(slots=True)
class Picture:
    """A picture with what is said of it.

    Attributes:
        name: of its file in the store.
        labels: of the whole picture.
        key: its id in the data, where it has one.
        agreement: share of several annotators that gave the label.
    """

    name: str
    labels: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    split: str | None = None
    key: str | None = None
    agreement: float | None = None
    image: Any = None  # where it is not in the store
    place: Any = None  # as of a shape


@dataclass
class AnnotationSource:
    """Rows of annotated pictures.

    Attributes:
        path: the file or folder that the user named.
        pictures: gives them all, from the start each time.
        classes: as the data declare them, in their order.
        wanted: what --items says, if anything.
    """

    path: Path
    store: Store
    pictures: Callable[[list[str]], Iterator[Picture]]
    classes: Sequence[str]
    wanted: str | None
    split: str | None = None
    labelled: bool = True
    urls: str = ""  # hosts that they may name URLs on
    notes: list[str] = field(default_factory=list)

    @cached_property
    def items(self) -> str:
        """Whether boxes or images are judged: boxes, where there are any."""
        if self.wanted is not None:
            return self.wanted
        return BOXES if any(p.shapes for p in self.pictures([])) else IMAGES

    @cached_property
    def labels_are(self) -> str:
        """Sets, where a picture that is judged as a whole has several labels."""
        if self.items == BOXES:
            return SINGLE
        several = any(len(_labels(p)) > 1 for p in self.pictures([]))
        return SET if several else SINGLE

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the data."""
        self.notes.clear()
        # which of both is decided once, so that rows are of one kind
        make = self._box_rows if self.items == BOXES else self._picture_rows
        keys, tally = RowKeys(None), Tally()
        seen, empty, unboxed = 0, 0, 0
        for picture in self.pictures(self.notes):
            # counted below: a split that no picture has is a mistake
            if self.split not in (None, picture.split):
                continue
            seen += 1
            empty += not picture.shapes
            unboxed += len(picture.labels)
            for row in make(picture, keys):
                tally.add(row.label, row.agreement)
                yield row
        self.notes += tally.notes()
        self._note(seen, empty, unboxed)

    def _note(self, seen: int, empty: int, unboxed: int) -> None:
        if self.split is not None and not seen:
            raise DataError(f"--split '{self.split}' is no split of '{self.path}'.")
        if self.items == BOXES:
            self.notes.append(
                "boxes are judged as crops: wrong classes are found, positions are not "
                "judged (--items images judges whole pictures)"
            )
            if empty:
                self.notes.append(
                    counted(empty, "picture", "has no box", "have no boxes")
                )
            if unboxed:
                left_out = counted(
                    unboxed, "label", "of a whole picture was", "of whole pictures were"
                )
                self.notes.append(f"{left_out} left out")

    def places(self) -> Iterator[tuple[Picture, Shape | None]]:
        """What each row is about, in the order of `rows`: a picture, or a box in it."""
        for picture in self.pictures([]):
            if self.items == IMAGES:
                yield picture, None
            else:
                for shape in picture.shapes:
                    yield picture, shape

    def images(self) -> Iterator[Any]:
        """Every picture, also those without a box."""
        for picture in self.pictures([]):
            yield self.member(picture)

    @property
    def root(self) -> Path:
        """The folder, zip or tar file that the pictures are in."""
        # folders have a root, packed files a path
        where: Path = getattr(self.store, "root", None) or vars(self.store)["path"]
        return where

    def _picture_rows(self, picture: Picture, keys: RowKeys) -> Iterator[Row]:
        label = None
        if self.labelled and self.labels_are == SET:
            label = write_set(_labels(picture))
        # at most one, or they would be sets
        elif self.labelled:
            label = next(iter(_labels(picture)), None)
        uri = path_to_uri(picture.name)
        yield Row(
            key=keys.take(None, picture.key or uri),
            uri=uri,
            path=readable(picture.name),
            label=label,
            split=picture.split,
            image=self.member(picture),
            agreement=picture.agreement,
        )

    def _box_rows(self, picture: Picture, keys: RowKeys) -> Iterator[Row]:
        member = self.member(picture)
        for shape in picture.shapes:
            uri = f"{shape.box.text()}:{path_to_uri(picture.name)}"
            yield Row(
                # without an id, where it is tells it apart, whatever its label is
                key=keys.take(None, shape.key or uri),
                uri=uri,
                path=f"{readable(picture.name)} {shape.box.shown()}",
                label=shape.label if self.labelled else None,
                split=picture.split,
                image=Crop(member, shape.box),
            )

    def member(self, picture: Picture) -> Any:
        """A picture, to be read when it is wanted."""
        if picture.image is not None:
            return picture.image
        return self._named(picture.name)

    def _named(self, name: str) -> Any:
        url = url_of(name) if "://" in name else None
        if url is not None:
            return remote_of(self.urls).picture(url)
        # the annotations may be a stranger's
        if leads_out(name):
            return Missing(f"'{readable(name)}' leads out of the data")
        return self.store.member(name)

    def read(self, uri: str) -> Any:
        """The image of one row again: bytes, or the path of its file."""
        crop = self.crop(uri)
        if crop is not None:
            return crop.read_bytes()
        member = self._named(uri_to_path(uri))
        return member if isinstance(member, Path) else member.read_bytes()

    def crop(self, uri: str) -> Crop | None:
        """What a row is cut from, and where; None of one that is a whole picture."""
        found = BOX.fullmatch(uri)
        if found is None:
            return None
        left, top, width, height = (float(side) for side in found[2].split(","))
        box = Box(left, top, width, height, found[1] == "part")
        return Crop(self._named(uri_to_path(found[3])), box)


def _labels(picture: Picture) -> list[str]:
    """Of the whole picture; without any, those of its boxes, each once."""
    # what was said of the whole picture outweighs what is in it
    labels = picture.labels or [s.label for s in picture.shapes if s.label is not None]
    return list(dict.fromkeys(labels))


def items_of(spec: DataSpec) -> str | None:
    """What --items says; raises OptionError where it is no such word."""
    if spec.items not in (None, BOXES, IMAGES):
        raise OptionError(f"--items '{spec.items}' is neither boxes nor images.")
    return spec.items


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture, as an unpacked picture: the same pixels always give the same bytes."""

    member: Any
    box: Box

    def read_bytes(self) -> bytes:
        """Its bytes (PPM).

        Raises:
            ImageError: the picture cannot be decoded, or the box is not in it.
        """
        kept = getattr(_KEPT, "picture", None)
        own = self.member, _stamp(self.member)
        if kept is not None and kept[0] == own:
            return _cut(kept[1], self.box)
        with decoded(read_bytes(self.member)) as picture:
            # a copy: the picture goes with the block that holds its memory
            small = picture.width * picture.height * 3 <= KEPT
            _KEPT.picture = (own, picture.copy()) if small else None
            return _cut(picture, self.box)


# What this thread decoded last: boxes of one picture follow each other.
_KEPT = threading.local()


def _stamp(member: Any) -> tuple[int, int] | None:
    """When a file was changed and its bytes: another one may have taken its name."""
    if not isinstance(member, Path):
        return None
    with contextlib.suppress(OSError):
        about = member.stat()
        return about.st_mtime_ns, about.st_size
    return None


def _cut(picture: Image.Image, box: Box) -> bytes:
    buffer = io.BytesIO()
    picture.crop(box.pixels(picture.size)).save(buffer, "PPM")
    return buffer.getvalue()


def shown(value: object) -> str:
    """An id or a name in a message: what a file says may be of any kind and length."""
    try:
        return (ascii(value) if isinstance(value, str) else str(value))[:80]
    # Python writes out no integer of more than 4,300 digits
    except ValueError:
        return "a number of thousands of digits"


def list_of(entry: Mapping[str, Any], name: str) -> list[Any]:
    """What an entry of a JSON file lists under a name; empty where it has none.

    Raises:
        ValueError: it is no list; whoever reads the file names it.
    """
    found = entry.get(name)
    if found is not None and not isinstance(found, list):
        raise ValueError(f"'{name}' is no list")
    return found or []
