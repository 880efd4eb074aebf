"""Several annotation files as one data set: COCO as it is downloaded, tasks of CVAT, exports.

`scan coco/` with `annotations/instances_{train,val}2017.json`, `scan 'tasks/*.xml'`, or a folder of
Label Studio's exports, also with a file per task. Ids count per file, so keys begin with the name
of the file; splits are those of the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from labelsieve.data.labels import SET, SINGLE
from labelsieve.data.sources import Row, coco, cvat, label_studio
from labelsieve.data.sources._annotations import BOXES, IMAGES, AnnotationSource
from labelsieve.data.sources._guess import json_kind, xml_kind
from labelsieve.data.sources._layout import (
    SPLITS,
    fixed_part,
    has_pattern,
    is_plain,
    look,
    matching,
    names_of,
)
from labelsieve.data.sources._layout import split_of as _split_of
from labelsieve.data.sources._stores import FolderStore
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import Bounds, path_to_uri, readable
from labelsieve.progress import plain

ROOMS = {"coco": coco, "cvat": cvat, "label-studio": label_studio}
CALLED = {"coco": "COCO", "cvat": "CVAT", "label-studio": "Label Studio"}
# Between the name of a file and the uri that the file's own source gives; it quotes this sign.
MARK = "|"
# What downloaded data sets call their annotations: no doubt that they are meant.
USUAL = re.compile(r"(?i)(.*/)?(annotations/.*|instances_.*|_annotations\.coco\.json)")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or "://" in str(spec.data):
        return False
    if not path.is_dir():
        return has_pattern(path) and bool(_of_glob(path)[1])
    found = _in_folder(path)
    return bool(found) and (
        any(map(USUAL.fullmatch, found)) or not _has_classes(path, found)
    )


def _has_classes(folder: Path, annotations: list[str]) -> bool:
    """Whether pictures lie in class folders, beside which annotations are something further."""
    # a folder with annotations of its own is a task, and no class
    tasks = {name.partition("/")[0] for name in annotations}
    tops = set()
    for name in look(folder).pictures:
        top, *inner = name.split("/")[:-1] or [""]
        if top.lower() in SPLITS and inner:
            top = inner[0]
        tops.add(top)
    classes = [t for t in tops - tasks if t and not is_plain(t)]
    # one alone is a folder of pictures: nobody has a single class
    return len(classes) > 1


def _kind(file: Path) -> str | None:
    kind = json_kind(file) or xml_kind(file)
    return kind if kind in ROOMS else None


def _in_folder(folder: Path) -> list[str]:
    seen = look(folder).ending(".json", ".xml")
    names: list[str] = []
    # only some names were looked at, and a folder may hold a file per task
    for inner in dict.fromkeys(name.rpartition("/")[0] for name in seen):
        for entry in sorted(os.listdir(folder / inner)):
            if entry.lower().endswith((".json", ".xml")):
                names.append(f"{inner}/{entry}" if inner else entry)
    return [name for name in sorted(names) if _kind(folder / name)]


def _of_glob(path: Path) -> tuple[Path, list[str]]:
    """The folder that holds all files of a pattern, and their names below it."""
    top = fixed_part(path)
    names = []
    others = []
    for file in matching(path):
        if _kind(Path(file)):
            names.append(os.path.relpath(file, top).replace(os.sep, "/"))
        else:
            others.append(file)
    # what a pattern fits may be anything; what was named by itself was meant
    if names and others and len(names_of(path)) > 1:
        raise DataError(
            f"'{readable(others[0])}' holds no annotations as '{names[0]}' does.",
            "Name files of one kind.",
        )
    return top, names


def open_source(spec: DataSpec) -> AnnotatedSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    if path.is_dir():
        top, found = path, _in_folder(path)
        names = _instances(found)
    else:
        top, names = _of_glob(path)
        found = names
    kinds = {name: _kind(top / name) or "" for name in names}
    found_kinds = sorted(CALLED[kind] for kind in set(kinds.values()))
    if len(found_kinds) > 1:
        raise DataError(
            f"'{readable(path)}' holds annotations of {' and of '.join(found_kinds)}.",
            f"Name those of one kind, such as '{readable(top / names[0])}'.",
        )
    # every file is read once before the first row is given: a fault is told at once
    source = AnnotatedSource(top, names, ROOMS[kinds[names[0]]], spec)
    source.skipped = [name for name in found if name not in names]
    source.roots = {n: str(p.root) for n, p in source.parts().items()}
    return source


def _instances(names: list[str]) -> list[str]:
    """Of COCO's own files those of instances: captions and key points are of the same pictures."""
    own = [n for n in names if n.rpartition("/")[2].lower().startswith("instances")]
    return own or names


@dataclass
class AnnotatedSource:
    """Rows of several annotation files, one after another.

    Attributes:
        top: the folder that all files are in.
        names: of the files below it, with slashes.
        roots: name -> where its pictures are.
        skipped: annotation files that are not read.
        starts: number of the first row of each file, known when all were listed.
        instead: file -> what is read in its place: as it was before it was corrected.
    """

    top: Path
    names: list[str]
    room: ModuleType
    spec: DataSpec
    roots: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    instead: dict[Path, Path] = field(default_factory=dict)

    def parts(self) -> dict[str, AnnotationSource]:
        """The source of each file, by its name; all of one kind of rows."""
        # opened again only where other files came into their places
        key = tuple(self.instead.items())
        if self._opened.get("key") != key:
            self._opened.update(key=key, parts=self._open())
        opened: dict[str, AnnotationSource] = self._opened["parts"]
        return opened

    @cached_property
    def _opened(self) -> dict[str, Any]:
        return {}

    def _open(self) -> dict[str, AnnotationSource]:
        parts: dict[str, AnnotationSource] = {}
        for name in self.names:
            file = self.top / name
            root = self.roots.get(name, self.spec.root)
            own = replace(
                self.spec, data=self.instead.get(file, file), root=root, split=None
            )
            parts[name] = self.room.open_source(own)
        boxes = any(part.items == BOXES for part in parts.values())
        for part in parts.values():
            # a file without any box does not make rows of another kind
            part.items = BOXES if boxes else IMAGES
            self._bound(part)
        sets = any(part.labels_are == SET for part in parts.values())
        for part in parts.values():
            part.labels_are = SET if sets else SINGLE
        return parts

    def _bound(self, part: AnnotationSource) -> None:
        """Links may lead to all of the folder that was named, and to what --root names.

        Raises:
            DataError: the folder of pictures itself is a link to somewhere else.
        """
        if not isinstance(part.store, FolderStore):
            return
        homes = [self.top, *([Path(self.spec.root)] if self.spec.root else [])]
        root = part.store.root
        # beside files that a pattern names, it was looked for one folder up
        is_folder = Path(self.spec.data).is_dir()
        if is_folder and not Bounds(*homes).hold(root):
            raise DataError(
                f"'{readable(root)}' leads out of the data.",
                "Name the folder that the pictures are in with --root.",
            )
        part.store = FolderStore(root, tuple(homes))

    @property
    def labels_are(self) -> str:
        """As of the files: sets, where one has some."""
        return next(iter(self.parts().values())).labels_are

    @property
    def classes(self) -> list[str]:
        """Of all files, in their order, each once."""
        names = [name for part in self.parts().values() for name in part.classes]
        return list(dict.fromkeys(names))

    @property
    def class_ids(self) -> Mapping[str, int]:
        """Ids by name; empty where files disagree."""
        ids: dict[str, int] = {}
        for part in self.parts().values():
            for name, number in getattr(part, "class_ids", {}).items():
                if ids.setdefault(name, number) != number:
                    return {}
        return ids if len(set(ids.values())) == len(ids) else {}

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the files."""
        self.notes.clear()
        self.starts, count, seen = [], 0, False
        said: dict[str, None] = {}
        for name, part in self.parts().items():
            self.starts.append(count)
            for row in part.rows():
                count += 1
                own = _renamed(row, name)
                if self.spec.split in (None, own.split):
                    seen = True
                    yield own
            said.update(dict.fromkeys(part.notes))
        if self.spec.split is not None and not seen:
            raise DataError(
                f"--split '{self.spec.split}' is no split of '{readable(self.top)}'."
            )
        self.notes += said
        if self.skipped:
            others = ", ".join(plain(name) for name in self.skipped[:3])
            self.notes.append(f"other annotations were not read: {others}")

    def read(self, uri: str) -> Any:
        """The image of one row again: bytes, or the path of its file."""
        part, inner = self._part_of(uri)
        return part.read(inner)

    def crop(self, uri: str) -> Any:
        """What a row is cut from, and where; None of one that is a whole picture."""
        part, inner = self._part_of(uri)
        return part.crop(inner)

    def _part_of(self, uri: str) -> tuple[Any, str]:
        """The file that a row is of, and its uri in there; raises DataError where it is gone."""
        own, _, inner = uri.partition(MARK)
        for name, part in self.parts().items():
            if path_to_uri(name) == own:
                return part, inner
        raise DataError(f"'{readable(self.top)}' has no file '{plain(own)}'.")


def _renamed(row: Row, name: str) -> Row:
    """A row of one file as one of all: two files may have the same ids."""
    own = path_to_uri(name)
    return replace(
        row,
        key=f"{own}{MARK}{row.key}",
        uri=f"{own}{MARK}{row.uri}",
        split=row.split or _split_of(name),
    )
