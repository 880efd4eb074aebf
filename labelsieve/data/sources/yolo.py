"""A YOLO data set: pictures in `images`, a text file of boxes for each in `labels`.

Named by its folder or its `data.yaml`; class names are those of the yaml, of `classes.txt` or of
`obj.names`. Boxes (and the boxes around outlines) are judged as crops, or whole pictures by the
classes in them. Class folders, as for classification, are read by `folder`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labelsieve.data.sources import refuse_options
from labelsieve.data.sources._annotations import (
    AnnotationSource,
    Box,
    Picture,
    Shape,
    items_of,
    shown,
)
from labelsieve.data.sources._layout import is_image, split_of
from labelsieve.data.sources._stores import FolderStore
from labelsieve.data.sources.coco import NO_COLUMNS
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable
from labelsieve.progress import plain

LARGEST_YAML = 1 << 20  # bytes
NAME_FILES = ("classes.txt", "obj.names")
SIDES = 4  # numbers of a box after its class: centre, width and height as shares of the picture


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or "://" in str(spec.data):
        return False
    if path.is_dir():
        return _names_file(path) is not None and _has_labels(path)
    return path.suffix.lower() in (".yaml", ".yml") and path.is_file()


def _has_labels(folder: Path) -> bool:
    """Whether there is a folder `labels`, at the top, in a split, or of darknet's name."""
    patterns = ("labels", "*/labels", "obj_*_data")
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def _names_file(folder: Path) -> Path | None:
    for name in ("data.yaml", "dataset.yaml", "data.yml", *NAME_FILES):
        if (folder / name).is_file():
            return folder / name
    # coco8.yaml: a single one is what is meant
    others = sorted(folder.glob("*.yaml"))
    return others[0] if len(others) == 1 else None


def open_source(spec: DataSpec) -> YoloSource:
    """Open it; raises DataError with what to do."""
    options = [name for name in NO_COLUMNS if name != "split"]
    refuse_options(spec, options, "a YOLO data set says what is what")
    path = Path(spec.data)
    folder = path if path.is_dir() else path.parent
    names = class_names(path if path.is_file() else _names_file(path) or path)
    instead: dict[Path, Path] = {}
    return YoloSource(
        folder,
        FolderStore(folder, (Path(spec.root),) if spec.root else ()),
        lambda notes: _pictures(folder, names, notes, instead),
        names,
        items_of(spec),
        spec.split,
        spec.labelled,
        instead=instead,
    )


@dataclass
class YoloSource(AnnotationSource):
    """Rows of a YOLO data set.

    Attributes:
        instead: file -> what is read in its place: as it was before it was corrected.
    """

    instead: dict[Path, Path] = field(default_factory=dict)

    @property
    def class_ids(self) -> dict[str, int]:
        """Numbers of classes by name."""
        return {name: number for number, name in enumerate(self.classes)}


def class_names(path: Path) -> list[str]:
    """Names by class number.

    Raises:
        DataError: there are none, or a number is missing.
    """
    if path.name in NAME_FILES:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        names: object = [line.strip() for line in lines if line.strip()]
    else:
        names = _of_yaml(path)
    # {0: cat, 1: dog}, as ultralytics writes them now
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(
            f"'{readable(path)}' gives no names of classes.",
            "It needs names: a list, or one name for each number from 0 on.",
        )
    found = [_name(path, name) for name in names]
    if len(set(found)) < len(found):
        raise DataError(f"'{readable(path)}' gives two classes the same name.")
    return found


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """No tag makes an object, and nothing is repeated: nine levels of aliases are gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; raises ValueError for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name), which is not followed")
        return super().compose_node(parent, index)


def _name(path: Path, name: object) -> str:
    """A class name; YAML makes numbers of names such as 7, and a day of 2020-01-02."""
    try:
        text = "" if isinstance(name, list | dict | set | bytes) else str(name)
        text.encode("utf-8")
    # half a surrogate pair, which no table can hold; an integer of thousands of digits
    except ValueError:
        text = ""
    if not text or name is None:
        raise DataError(
            f"'{readable(path)}' has a class name that is no text: {shown(name)}.",
            "Write it in quotes.",
        )
    return text


def _of_yaml(path: Path) -> object:
    try:
        if path.stat().st_size > LARGEST_YAML:
            raise ValueError("it is too large")
        # paths in it are not followed
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    # a stranger's: values of a tag end in errors of many kinds
    except Exception as error:
        reason = plain((str(error).splitlines() or [type(error).__name__])[0])
        raise DataError(
            f"'{readable(path)}' cannot be read: {reason[:200]}."
        ) from error
    return content.get("names") if isinstance(content, dict) else None


def _pictures(
    folder: Path, names: list[str], notes: list[str], instead: dict[Path, Path]
) -> Iterator[Picture]:
    # label files that no picture asks for are told of
    used = set()
    for name in _below(folder, is_image, notes):
        file = folder / label_file(name)
        file = instead.get(file, file)
        used.add(label_file(name))
        # a picture without a file has nothing on it
        shapes = list(_shapes(file, names)) if file.is_file() else []
        yield Picture(name, shapes=shapes, split=split_of(os.path.dirname(name)))
    lonely = [name for name in _label_files(folder) if name not in used]
    if lonely:
        first = plain(lonely[0])
        notes.append(f"{len(lonely)} label files have no picture, such as '{first}'")


def _label_files(folder: Path) -> Iterator[str]:
    for name in _below(folder, lambda name: name.endswith(".txt")):
        if "labels" in name.split("/")[:-1]:
            yield name


def _below(
    folder: Path, wanted: Callable[[str], bool], notes: list[str] | None = None
) -> Iterator[str]:
    """Files below a folder in the order of their names; hidden ones are left out."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = os.path.relpath(where, folder).replace(os.sep, "/")
        for name in folders:
            if notes is not None and os.path.islink(os.path.join(where, name)):
                shown = readable(name if inner == "." else f"{inner}/{name}")
                notes.append(f"linked folder '{shown}' was not followed")
        for name in sorted(files):
            if wanted(name) and not name.startswith("."):
                yield name if inner == "." else f"{inner}/{name}"


def label_file(image: str) -> str:
    """Where the boxes of a picture are: its folder `images` becomes `labels`."""
    parts = image.split("/")
    stem, _, _ = parts[-1].rpartition(".")
    # the last of several, as ultralytics takes it
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return "/".join([*parts[:-1], f"{stem}.txt"])


def _shapes(file: Path, names: list[str]) -> Iterator[Shape]:
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split()
        if cells:
            label, sides = _cells(file, number, cells, names)
            yield Shape(label, _box(sides), place=number)


def _cells(
    file: Path, line: int, cells: list[str], names: list[str]
) -> tuple[str, list[float]]:
    """Label and numbers of a line; raises DataError that names it."""
    try:
        number, sides = int(cells[0]), [float(cell) for cell in cells[1:]]
        # corners of an outline come in pairs
        odd = len(sides) > SIDES + 1 and len(sides) % 2
        if not all(map(math.isfinite, sides)) or len(sides) < SIDES or odd:
            raise ValueError
    except ValueError as error:
        raise DataError(
            f"'{readable(file)}' line {line}: '{plain(' '.join(cells))[:60]}' is no box.",
            "A line is a class number, then the centre, width and height of the box.",
        ) from error
    if not 0 <= number < len(names):
        raise DataError(
            f"'{readable(file)}' line {line}: there is no class {number}.",
            f"Names are given for 0 to {len(names) - 1}.",
        )
    return names[number], sides


def _box(sides: list[float]) -> Box:
    # a fifth number is a confidence; more are the corners of an outline
    if len(sides) <= SIDES + 1:
        x, y, width, height = sides[:SIDES]
        return Box(x - width / 2, y - height / 2, width, height, shares=True)
    across, down = sides[::2], sides[1::2]
    left, top = min(across), min(down)
    return Box(left, top, max(across) - left, max(down) - top, shares=True)
