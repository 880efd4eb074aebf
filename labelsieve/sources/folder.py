"""A folder with one sub-folder per class, also below train/, val/ … folders.

`photos/cat/1.jpg` has the label "cat". Where every sub-folder of the root holds only folders (`train/cat/1.jpg`), the
first level is the split. Hidden folders and files are left out and named in the notes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labelsieve.errors import DataError, unknown
from labelsieve.sources import DataSpec, Row
from labelsieve.tables import path_to_uri, readable, uri_to_path

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".ico",
        ".jp2",
        ".avif",
        ".heic",
        ".heif",
        ".dib",
        ".tga",
        ".pcx",
    ]
)
SPLITS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"])


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return (
        path is not None
        and path.is_dir()
        and not (path / "dataset_info.json").exists()
        and not (path / "dataset_dict.json").exists()
    )


def open_source(spec: DataSpec) -> FolderSource:
    """Open it; raises DataError with what to do."""
    for option in ("image_column", "label_column", "id_column", "root"):
        if getattr(spec, option):
            flag = "--" + option.replace("_", "-")
            raise DataError(
                f"{flag} does not apply to a folder.",
                f"'{spec.data}' gives each image the name of its folder as label.",
            )
    if spec.truth_column:
        raise DataError(
            "--truth-column does not apply to a folder.",
            "Put the true labels into a table (CSV or Parquet) and scan that.",
        )
    return FolderSource(Path(spec.data), spec.split)


@dataclass
class FolderSource:
    """Images below class folders."""

    root: Path
    split: str | None = None
    notes: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Rows in the order of their relative paths."""
        self.notes.clear()
        top = self._folders(self.root)
        if not top:
            raise DataError(
                f"'{self.root}' has no class folders.", "Put the images of each class into a folder named after it."
            )
        nested = self._nested(top)
        if self.split and self.split not in (nested or {}):
            raise DataError(unknown("Split", self.split, nested or {"(none: the folder has no split level)": []}))
        if nested is None:
            self._note_loose(self.root)
            yield from self._class_rows(self.root, top, None)
            return
        for split, classes in sorted(nested.items()):
            if self.split in (None, split):
                yield from self._class_rows(self.root / split, classes, split)

    def read(self, uri: str) -> Path:
        return self.root / uri_to_path(uri)

    def _nested(self, top: list[str]) -> dict[str, list[str]] | None:
        """Splits with their class folders, when the first level is made of splits."""
        if not all(name.lower() in SPLITS for name in top):
            return None
        found = {name: self._folders(self.root / name) for name in top}
        return found if all(found.values()) else None

    def _class_rows(self, base: Path, classes: list[str], split: str | None) -> Iterator[Row]:
        for name in sorted(classes):
            before = len(self.notes)
            files = sorted(self._files(base / name))
            if not files and len(self.notes) == before:
                self.notes.append(f"class folder '{readable(name)}' holds no images")
            for file in files:
                relative = os.path.relpath(file, self.root).replace(os.sep, "/")
                uri = path_to_uri(relative)
                yield Row(key=uri, uri=uri, path=readable(relative), label=readable(name), split=split, image=file)

    def _folders(self, folder: Path) -> list[str]:
        names = []
        for entry in self._scan(folder):
            if not entry.is_dir():
                continue
            if entry.name.startswith((".", "__MACOSX")):
                self.notes.append(f"hidden folder '{readable(os.path.relpath(entry.path, self.root))}' was left out")
            else:
                names.append(entry.name)
        return names

    def _files(self, folder: Path, seen: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
        """Image files below a class folder; a symbolic link that leads back up is not followed again."""
        try:
            status = os.stat(folder)
        except OSError as error:
            self.notes.append(f"folder '{readable(folder)}' cannot be opened: {error.strerror}")
            return
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            self.notes.append(f"link loop at '{readable(os.path.relpath(folder, self.root))}' was not followed")
            return
        skipped = 0
        for entry in self._scan(folder):
            if entry.name.startswith("."):
                self.notes.append(f"hidden '{readable(os.path.relpath(entry.path, self.root))}' was left out")
            elif entry.is_dir():
                yield from self._files(Path(entry.path), seen | {identity})
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                yield entry.path
            else:
                skipped += 1
        if skipped:
            self.notes.append(
                f"{skipped} files in '{readable(os.path.relpath(folder, self.root))}' are not images by their suffix and were left out"
            )

    def _scan(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            self.notes.append(f"folder '{readable(folder)}' cannot be opened: {error.strerror}")
            return []

    def _note_loose(self, folder: Path) -> None:
        loose = [
            e.name for e in self._scan(folder) if e.is_file() and os.path.splitext(e.name)[1].lower() in IMAGE_SUFFIXES
        ]
        if loose:
            self.notes.append(
                f"{len(loose)} images lie outside any class folder (first: '{readable(loose[0])}') and were left out"
            )
