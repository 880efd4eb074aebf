"""A folder with one sub-folder per class, also below train/, val/ … folders.

`photos/cat/1.jpg` has the label "cat". Where every sub-folder of the root has the name of a
split and one of them holds class folders (`train/cat/1.jpg`), the first level is the split.
Where there are text files (`reviews/good/1.txt`) and no picture is seen, the items are texts.
Hidden folders and files are left out and named in the notes, and so are links that lead out
of the folder, as a received one could make anybody's pictures its own; --root names a folder
into which they may lead. What is written (`labelsieve.corrections`) never goes through one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from labelsieve.data.sources import STATE, Row
from labelsieve.data.sources._columns import IMAGES, TEXTS
from labelsieve.data.sources._guess import other_kind, proposal, unread
from labelsieve.data.sources._history import path_now
from labelsieve.data.sources._known import known
from labelsieve.data.sources._layout import SPLITS, is_image, is_text, look
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import Bounds, lies_in, path_to_uri, readable
from labelsieve.progress import counted

# Any folder is one of images where no other storage knows it.
FALLBACK = True
OUTWARD = "out of the data"  # in the note about links that were not followed


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    # with one of these files it is what `datasets` saves
    return (
        path is not None
        and path.is_dir()
        and not (path / "dataset_info.json").exists()
        and not (path / "dataset_dict.json").exists()
    )


def open_source(spec: DataSpec) -> FolderSource:
    """Open it; raises DataError with what to do."""
    for option in ("image_column", "text_column", "label_column", "id_column"):
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
    linked = Path(spec.root) if spec.root else None
    if linked is not None and not linked.is_dir():
        raise DataError(
            f"--root '{readable(linked)}' is not a folder.",
            f"For '{readable(spec.data)}' it is where links may lead.",
        )
    return FolderSource(Path(spec.data), spec.split, spec.labelled, linked)


@dataclass
class FolderSource:
    """Images, or texts, below class folders.

    Attributes:
        linked: a folder beside the root into which links may lead.
    """

    root: Path
    split: str | None = None
    labelled: bool = True
    linked: Path | None = None
    notes: list[str] = field(default_factory=list)

    @cached_property
    def modality(self) -> str:
        """Of `labelsieve.data.modalities`, by the first names in the folder."""
        seen = look(self.root)
        texts = any(map(is_text, [name for name in seen.others if "/" in name]))
        return TEXTS if texts and not seen.pictures else IMAGES

    def _is_item(self, name: str) -> bool:
        return is_text(name) if self.modality == TEXTS else is_image(name)

    def rows(self) -> Iterator[Row]:
        """Rows in the order of their relative paths."""
        self.notes.clear()  # listing again must not say everything twice
        if not self.labelled and self.split is None:
            yield from self._rows(self.root, None, None)
            return
        top = self.folders(self.root)
        outward = [note for note in self.notes if OUTWARD in note]
        if outward and not top:
            raise DataError(f"'{readable(self.root)}': {outward[0]}.")
        found = known(self.root, look(self.root))
        if found is not None:
            raise DataError(f"'{readable(self.root)}' looks like {found[0]}.", found[1])
        if not top:
            what, do = proposal(self.root)
            seems = f"; it looks like {what}" if what else ""
            raise DataError(f"'{self.root}' has no class folders{seems}.", do)
        what, do = other_kind(self.root, top)
        if what:
            raise DataError(f"'{readable(self.root)}' looks like {what}.", do)
        self.notes += unread(self.root)
        nested = self.nested(top)
        if self.split and self.split not in (nested or {}):
            names = nested or {"(none: the folder has no split level)": []}
            raise DataError(unknown("Split", self.split, names))
        if nested is None:
            # named, as people look for them in vain among the results
            self._note_loose(self.root)
            yield from self._class_rows(self.root, top, None)
            return
        for split, classes in sorted(nested.items()):
            if self.split in (None, split):
                self._note_loose(self.root / split)
                yield from self._class_rows(self.root / split, classes, split)

    def read(self, uri: str) -> Path:
        """Where the image is now, if a patch moved it since it was listed."""
        return path_now(self.root, uri)

    def nested(self, top: list[str]) -> dict[str, list[str]] | None:
        """Splits with their class folders, when the first level is made of splits."""
        splits = [name for name in top if name.lower() in SPLITS]
        classes = {name: self.folders(self.root / name) for name in splits}
        # a folder train/ of nothing but pictures is a class of that name
        if not any(classes.values()):
            return None
        if len(splits) < len(top):
            other = next(name for name in top if name not in splits)
            self.notes.append(
                f"'{readable(splits[0])}' is a class and not a split, because "
                f"'{readable(other)}' is not a split"
            )
            return None
        return classes

    def _class_rows(
        self, base: Path, classes: list[str], split: str | None
    ) -> Iterator[Row]:
        for name in sorted(classes):
            empty = True
            for row in self._rows(base / name, readable(name), split):
                empty = False
                yield row
            if empty:
                held = f"holds no {self.modality}"
                self.notes.append(f"class folder '{readable(name)}' {held}")

    def _rows(
        self, folder: Path, label: str | None, split: str | None
    ) -> Iterator[Row]:
        """Every item below one folder."""
        # the folder itself is not above itself: it would be taken for a loop
        top = self.root if folder != self.root else self.root.resolve().parent
        start = len(os.path.join(folder, ""))
        above_file = self._prefix(folder)
        # sorted, as the order in which a system lists files is anybody's guess
        for file in sorted(self._files(folder, _above(top))):
            relative = above_file + file[start:].replace(os.sep, "/")
            uri = path_to_uri(relative)
            yield Row(
                key=uri,
                uri=uri,
                path=readable(relative),
                label=label,
                split=split,
                image=file,
            )

    def _prefix(self, folder: Path) -> str:
        """What comes before a file's path below `folder` to make it one below the root."""
        # os.path.relpath of every file would take longer than all else
        below = os.path.relpath(folder, self.root).replace(os.sep, "/")
        return "" if below == "." else f"{below}/"

    def folders(self, folder: Path) -> list[str]:
        """Names of the folders in one folder; hidden ones are noted and left out."""
        names = []
        for entry in self._scan(folder):
            if not _is_folder(entry) or entry.name == STATE:
                continue
            # what macOS packs beside pictures into archives are no classes
            if entry.name.startswith((".", "__MACOSX")):
                hidden = self._shown(entry.path)
                self.notes.append(f"hidden folder '{hidden}' was left out")
            else:
                names.append(entry.name)
        return names

    def _shown(self, path: str | Path) -> str:
        """A path below the root as a person reads it."""
        return readable(os.path.relpath(path, self.root))

    def _files(self, folder: Path, seen: frozenset[tuple[int, int]]) -> Iterator[str]:
        """Image files below a class folder; a link that leads back up is not followed again."""
        try:
            status = os.stat(folder)
        except OSError as error:
            self.notes.append(
                f"folder '{readable(folder)}' cannot be opened: {error.strerror}"
            )
            return
        # a link that leads to a folder above would never end
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            self.notes.append(f"link loop at '{self._shown(folder)}' was not followed")
            return
        hidden: list[str] = []
        skipped = 0
        for entry in self._scan(folder):
            if entry.name.startswith("."):
                hidden.append(entry.name)
            elif _is_folder(entry):
                yield from self._files(Path(entry.path), seen | {identity})
            elif self._is_item(entry.name):
                yield entry.path
            else:
                skipped += 1
        self._note_left_out(folder, hidden, skipped)

    def _note_left_out(self, folder: Path, hidden: list[str], skipped: int) -> None:
        if hidden:
            # the least name, as listings have no order
            first = self._shown(os.path.join(folder, min(hidden)))
            more = f" and {len(hidden) - 1} more" if len(hidden) > 1 else ""
            self.notes.append(f"hidden '{first}'{more} left out")
        if skipped:
            what, here = self.modality.removesuffix("s"), self._shown(folder)
            one = "an image" if self.modality == IMAGES else f"a {what}"
            self.notes.append(
                counted(
                    skipped,
                    "file",
                    f"in '{here}' is not {one} by its suffix and was",
                    f"in '{here}' are not {what}s by their suffix and were",
                )
                + " left out"
            )

    def _scan(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                # all at once: going deeper would keep a folder open at every level
                return self._within(folder, list(entries))
        except OSError as error:
            self.notes.append(
                f"folder '{readable(folder)}' cannot be opened: {error.strerror}"
            )
            return []

    def _within(
        self, folder: Path, entries: list[os.DirEntry[str]]
    ) -> list[os.DirEntry[str]]:
        """All entries of a folder but links that lead out of the data, which are noted."""
        out = {e.name for e in entries if e.is_symlink() and self._leads_out(e.path)}
        if not out:
            return entries
        first = min(out)
        target = os.path.realpath(os.path.join(folder, first))
        note = (
            counted(len(out), "link", "leads", "lead")
            + f" {OUTWARD} ('{self._shown(os.path.join(folder, first))}' to "
            f"'{readable(target)}') and "
            + ("was" if len(out) == 1 else "were")
            + " left out; --root FOLDER allows links into that folder"
        )
        if note not in self.notes:  # some folders are listed twice
            self.notes.append(note)
        return [entry for entry in entries if entry.name not in out]

    @cached_property
    def _bounds(self) -> Bounds:
        """Where links may lead."""
        return Bounds(*(p for p in (self.root, self.linked) if p is not None))

    def _leads_out(self, link: str) -> bool:
        # one to a folder above is noted as the loop it is
        loop = lies_in(os.path.realpath(self.root), os.path.realpath(link))
        return not loop and not self._bounds.hold(link)

    def _note_loose(self, folder: Path) -> None:
        names = [e.name for e in self._scan(folder) if not _is_folder(e)]
        loose = [name for name in names if self._is_item(name)]
        if loose:
            self.notes.append(
                counted(len(loose), self.modality.removesuffix("s"), "lies", "lie")
                + f" outside any class folder (first: '{readable(loose[0])}') and "
                + ("was left out" if len(loose) == 1 else "were left out")
            )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _above(root: Path) -> frozenset[tuple[int, int]]:
    """The root and the folders above it: a link to one of them leads round in a circle."""
    folders = (root.resolve(), *root.resolve().parents)
    # numbers, not names: a folder has many paths through links
    return frozenset((s.st_dev, s.st_ino) for s in map(os.stat, folders))
