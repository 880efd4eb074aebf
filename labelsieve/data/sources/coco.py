"""COCO annotations, a JSON file: boxes as crops, or whole pictures by the classes in them.

`scan annotations/instances_train.json`; pictures are looked for beside the file and in the usual
folders, or below --root. Ids of annotations and images are kept.
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.data.sources import refuse_options
from labelsieve.data.sources._annotations import (
    AnnotationSource,
    Box,
    Picture,
    Shape,
    items_of,
    list_of,
    shown,
)
from labelsieve.data.sources._formats import named
from labelsieve.data.sources._guess import json_kind
from labelsieve.data.sources._layout import split_of
from labelsieve.data.sources._stores import (
    LOOKED_FOR,
    Store,
    is_there,
    leads_out,
    open_store,
)
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import Bounds, readable
from labelsieve.progress import plain

NO_COLUMNS = (
    *("image_column", "label_column", "truth_column", "id_column", "split"),
    *("vote_columns", "count_columns", "label_separator"),
)
# Folders that pictures usually lie in, from that of the file.
USUAL = (".", "images", "data", "..", "../images", "../data", "../train", "../val")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and json_kind(path) == "coco"


def open_source(spec: DataSpec) -> CocoSource:
    """Open it; raises DataError with what to do."""
    refuse_options(spec, NO_COLUMNS, "COCO annotations say what is what")
    path = Path(spec.data)
    # once: rows, corrections and classes all come from it
    content = Content.read(path)
    store = _store(spec, path, content)
    return CocoSource(
        path,
        store,
        content.pictures,
        list(content.categories.values()),
        items_of(spec),
        labelled=spec.labelled,
        content=content,
    )


@dataclass
class CocoSource(AnnotationSource):
    """Rows of a COCO file; `content` is what it says (`Content`)."""

    content: Any = None

    @property
    def class_ids(self) -> dict[str, int]:
        """Category ids by name; empty where ids are text."""
        ids = {name: key for key, name in self.content.categories.items()}
        return ids if all(isinstance(key, int) for key in ids.values()) else {}


@dataclass(frozen=True)
class Content:
    """What a COCO file says.

    Attributes:
        names: image id -> file name.
        categories: category id -> name, in the order of the file.
        annotations: (id, image id, category id, box), in the order of the file.
    """

    path: Path
    names: dict[Any, str]
    categories: dict[Any, str]
    annotations: list[tuple[Any, Any, Any, Box | None]]

    @classmethod
    def read(cls, path: Path) -> Content:
        """Read and check a file.

        Raises:
            DataError: it is no COCO file, or an id in it names nothing, or two things.
        """
        with named(path, kind="COCO"):
            return cls._of(path, _load(path))

    @classmethod
    def _of(cls, path: Path, content: dict[str, Any]) -> Content:
        names = _by_id(path, content, "images", "file_name")
        categories = _by_id(path, content, "categories", "name")
        _check_names(path, categories)
        annotations = []
        # an id is the key of a row, and of its correction
        seen = set()
        for entry in list_of(content, "annotations"):
            annotation = _annotation(path, entry, names, categories)
            if annotation[0] in seen:
                raise _fault(
                    path, f"two annotations have the id {shown(annotation[0])}"
                )
            seen.add(annotation[0])
            annotations.append(annotation)
        return cls(path, names, categories, annotations)

    def pictures(self, notes: list[str]) -> Iterator[Picture]:
        """Every picture with its annotations."""
        found: dict[Any, Picture] = {}
        # "instances_train2017.json": there is nothing about splits in a file
        split = split_of(self.path.name)
        for number, name in self.names.items():
            found[number] = Picture(name, split=split, place=number)
        for key, image, category, box in self.annotations:
            label = self.categories[category]
            # without a box it is about the whole picture
            if box is None:
                found[image].labels.append(label)
            else:
                found[image].shapes.append(Shape(label, box, str(key), key))
        yield from found.values()


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=_without_outline)
    # RecursionError: nested a thousand times
    except (ValueError, OSError, RecursionError) as error:
        raise _fault(path, plain(str(error).splitlines()[0])) from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise _fault(path, "it has no list of images")
    return content


def _without_outline(entry: dict[str, Any]) -> dict[str, Any]:
    # outlines are nine tenths of such files, and are not looked at
    entry.pop("segmentation", None)
    return entry


def _by_id(path: Path, content: dict[str, Any], kind: str, name: str) -> dict[Any, str]:
    """Id -> name of images or categories; each id once."""
    names: dict[Any, str] = {}
    for entry in list_of(content, kind):
        has_both = isinstance(entry, dict) and isinstance(entry.get(name), str)
        if not has_both or not isinstance(entry.get("id"), int | str):
            raise _fault(path, f"an entry of '{kind}' has no id or no {name}")
        if entry["id"] in names:
            raise _fault(path, f"two {kind} have the id {shown(entry['id'])}")
        if not (_is_text(entry["id"]) and _is_text(entry[name])):
            about = f"{kind} {shown(entry['id'])}: {shown(entry[name])}"
            raise _fault(path, f"{about} is no valid text")
        names[entry["id"]] = entry[name]
    return names


def _is_text(value: Any) -> bool:
    """False for half a surrogate pair, which no table can hold; bytes of file names can be."""
    try:
        str(value).encode("utf-8", "surrogateescape")
    except ValueError:
        return False
    return True


def _check_names(path: Path, categories: dict[Any, str]) -> None:
    # a label is a name: two of one name could not be told apart
    seen: dict[str, Any] = {}
    for number, name in categories.items():
        if name in seen:
            raise _fault(
                path,
                f"categories {shown(seen[name])} and {shown(number)} are both {shown(name)}",
            )
        seen[name] = number


def _annotation(
    path: Path, entry: Any, names: dict[Any, str], categories: dict[Any, str]
) -> tuple[Any, Any, Any, Box | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
        raise _fault(path, "an annotation has no id")
    number = entry["id"]
    if not _is_text(number):
        raise _fault(path, f"the id of an annotation, {shown(number)}, is no text")
    for key, known in (("image_id", names), ("category_id", categories)):
        value = entry.get(key)
        if not isinstance(value, int | str) or value not in known:
            raise _fault(
                path,
                f"annotation {shown(number)} has the {key} {shown(value)}, which is no "
                f"{key[:-3]}",
            )
    try:
        box = _box(entry.get("bbox"))
    # a number of hundreds of digits
    except OverflowError as error:
        fault = f"the box of annotation {shown(number)} has no size"
        raise _fault(path, fault) from error
    return number, entry["image_id"], entry["category_id"], box


def _box(sides: Any) -> Box | None:
    """None where a whole picture is annotated."""
    # Label Studio and CVAT write [] for a whole picture
    if not isinstance(sides, Sequence) or len(sides) != 4:
        return None
    # text in their place is no box either
    if not all(isinstance(side, int | float) for side in sides):
        return None
    left, top, width, height = (float(side) for side in sides)
    return Box(left, top, width, height)


def _store(spec: DataSpec, path: Path, content: Content) -> Store:
    """Where the pictures are: in what --root names, or where links may then lead from."""
    names = [n for n in content.names.values() if not leads_out(n)][:LOOKED_FOR]
    root = Path(spec.root) if spec.root else None
    if root is None:
        return _find(path, names)
    if root.is_dir() and not any(is_there(root, name) for name in names):
        with contextlib.suppress(DataError):
            return _find(path, names, root)
    return open_store(root, path.parent)


def _find(path: Path, names: list[str], *homes: Path) -> Store:
    """The folder that the pictures lie in.

    Args:
        names: some of the pictures.
        homes: folders into which it, as a link, and links in it may lead.

    Raises:
        DataError: they are in no usual one.
    """
    # instances_train2017.json: its pictures lie in train2017
    parts = [*path.stem.split("_"), path.stem.partition("_")[2]]
    own = [f"../{inner}{part}" for part in parts for inner in ("", "images/")]
    # instances_train.json beside train2017; first, as "1.png" may be in train and in val
    for part in parts:
        years = path.parent.parent.glob(f"{glob.escape(part)}[12][0-9][0-9][0-9]")
        own += [f"../{folder.name}" for folder in sorted(years)]
    for folder in (*own, *USUAL):
        root = path.parent / folder
        # ".." is the folder above; a link that is called so leads nowhere else
        above = path.parent.parent if folder.startswith("..") else path.parent
        is_own = Bounds(above, *homes).hold(root)
        if names and is_own and all(is_there(root, name) for name in names):
            return open_store(root, path.parent, *homes)
    first = names[0] if names else "?"
    raise DataError(
        f"The pictures of '{readable(path)}', such as '{plain(first)[:120]}', are not beside it.",
        "Name the folder, zip or tar file that they are in with --root.",
    )


def _fault(path: Path, fault: str) -> DataError:
    return DataError(
        f"'{readable(path)}' cannot be read as COCO: {fault}.", "Check the file."
    )
