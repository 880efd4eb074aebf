"""Boxes of an export: whole pictures with the boxes in them, whose classes hold after decisions.

A scan of boxes judges crops. Formats that know boxes get back what was scanned: every picture, also
those without a box, and the place of every box as the data have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from labelsieve.data.images import decoded, read_bytes
from labelsieve.data.sources import Row, open_source
from labelsieve.data.sources._annotations import BOX, Box
from labelsieve.data.spec import DataSpec
from labelsieve.errors import ImageError
from labelsieve.exports import Names, Rows, safe_name
from labelsieve.exports._splits import SHORT, TRAIN
from labelsieve.files import uri_to_path
from labelsieve.progress import counted, note

# What stands before the uri of a box where several files are one data set.
OF_FILE = "|"


@dataclass(frozen=True)
class Place:
    """A box of the export: its row, and left, top, width and height in pixels."""

    row: dict[str, Any]
    sides: tuple[float, float, float, float]


@dataclass
class Boxed:
    """A picture that was written, with its boxes.

    Attributes:
        file: its path below the folder of the pictures, with slashes.
        size: width and height in pixels, as a person sees it.
    """

    file: str
    split: str | None
    size: tuple[int, int]
    boxes: list[Place] = field(default_factory=list)


def holds_boxes(uris: Iterable[str]) -> bool:
    """Whether a scan was one of boxes, by the first uri of its rows."""
    return _split(next(iter(uris), "")) is not None


class BoxedPictures:
    """Pictures of annotated data, written with the boxes of an export.

    Args:
        spec: the data that were scanned.
        whole: whether pictures without a box are written, too.
    """

    def __init__(self, rows: Rows, spec: DataSpec, *, whole: bool) -> None:
        self._rows = rows
        self._spec = spec
        self._whole = whole

    @cached_property
    def _known(self) -> dict[str, dict[str, Any]]:
        """Rows of the export by the key of their box."""
        return {row["sample_id"].rpartition("#")[0]: row for row in self._rows}

    @property
    def classes(self) -> list[str]:
        """Those of the data in their order, and those that somebody typed."""
        given = {row["label"] for row in self._known.values()} - {None}
        return [*self._rows.classes, *sorted(given - set(self._rows.classes))]

    @property
    def ids(self) -> dict[str, int]:
        """Numbers of classes: those of the data, where they have them; else from zero."""
        known = self._rows.class_ids
        if not known.keys() >= set(self._rows.classes):
            known = {name: number for number, name in enumerate(self._rows.classes)}
        ids = {name: known[name] for name in self._rows.classes}
        for name in self.classes[len(ids) :]:
            ids[name] = max(ids.values(), default=-1) + 1
        return ids

    def final(self, path: Path) -> Path:
        """As `Rows.final`."""
        return self._rows.final(path)

    def written(self, folder: Path, *, splits: bool = True) -> Iterator[Boxed]:
        """Write pictures below a folder; unreadable ones are counted and left out.

        Args:
            splits: those of a split lie in a folder of its name.
        """
        names: dict[str, Names] = {}
        lost = 0
        for member, path, split, boxes in self._pictures():
            # ultralytics wants its own names, and everybody knows them
            short = SHORT.get(split.lower(), split) if split else TRAIN
            below = f"{safe_name(short)}/" if splits else ""
            try:
                data = read_bytes(member)
                with decoded(data) as picture:
                    size = picture.size
            except ImageError:
                lost += 1
                continue
            own = names.setdefault(below, Names())
            suffix = Path(path).suffix.lower() or ".png"
            file = below + own.numbered(safe_name(Path(path).stem), suffix)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
            places = [Place(row, _pixels(box, size)) for row, box in boxes]
            yield Boxed(file, split, size, places)
        if lost:
            note(f"{counted(lost, 'picture', 'was', 'were')} unreadable and left out.")

    def _pictures(
        self,
    ) -> Iterator[tuple[Any, str, str | None, list[tuple[dict[str, Any], Box]]]]:
        """Each picture with its path, its split, and the rows of its boxes."""
        source: Any = open_source(self._spec)
        for place, found in groupby(source.rows(), lambda row: _split(row.uri)):
            # crops of nothing but boxes: the scan was one
            name = place[1] if place else ""
            rows: list[Row] = list(found)
            known = [(self._known.get(r.key), r.image.box) for r in rows]
            kept = [
                (row, box) for row, box in known if row and row["label"] is not None
            ]
            if kept or self._whole:
                yield rows[0].image.member, name, rows[0].split, kept
        if not self._whole:
            return
        for part in source.parts().values() if hasattr(source, "parts") else [source]:
            for picture in part.pictures([]):
                if not picture.shapes:
                    yield part.member(picture), picture.name, picture.split, []


def _split(uri: str) -> tuple[str, str] | None:
    """The file that names a box, where there are several, and its picture; None: no box."""
    file, inner = "", uri
    if BOX.fullmatch(uri) is None:
        file, _, inner = uri.partition(OF_FILE)
    found = BOX.fullmatch(inner)
    return None if found is None else (file, uri_to_path(found[3]))


def _pixels(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size if box.shares else (1, 1)
    across, down = box.width * width, box.height * height
    return box.left * width, box.top * height, across, down
