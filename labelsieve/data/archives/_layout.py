"""What archives have in common: finding their folder, reading lists, saying what is missing."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from labelsieve.data.sources._stores import Missing
from labelsieve.data.sources.archive import PREFIX, Listing
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import Bounds

LARGEST_LIST = 256 << 20  # bytes of a list of images; the longest known one has 60 MB
LARGEST_PICTURE = 512 << 20


@dataclass(frozen=True)
class Archive:
    """Which archive, for messages: its name here, its folder, and where the official one is."""

    name: str
    directory: Path
    where: str

    def error(self, what: str) -> DataError:
        """What is wrong with it, and where to get it."""
        return DataError(f"'{self.directory}': {what}", self.where)

    def check(self, split: str, splits: Sequence[str]) -> None:
        """Raises DataError for an unknown part, or when the folder is none."""
        if split not in splits:
            raise DataError(
                unknown("Split", split, splits),
                f"Data: {self.name} in '{self.directory}'.",
            )
        if not self.directory.is_dir():
            raise self.error("there is no such folder.")


class Store(Protocol):
    """Files of an archive by their relative path, in a folder or still packed."""

    def has(self, name: str) -> bool: ...

    def text(self, name: str) -> str: ...

    def files(self, folder: str) -> list[str]: ...

    def picture(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Folder:
    """An unpacked archive."""

    root: Path

    def has(self, name: str) -> bool:
        return (self.root / name).exists()

    def text(self, name: str) -> str:
        # editors of Windows write a BOM
        return (self.root / name).read_text(encoding="utf-8-sig")

    def files(self, folder: str) -> list[str]:
        """Paths of the files directly below a folder, sorted."""
        path = self.root / folder
        return (
            sorted(f"{folder}/{p.name}" for p in path.iterdir() if p.is_file())
            if path.is_dir()
            else []
        )

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(self.root)

    def picture(self, name: str) -> Any:
        path = self.root / name
        # an archive may have been packed again by a stranger
        return (
            path if self._bounds.hold(path) else Missing("a link leads out of the data")
        )


class Zip:
    """A packed archive whose files are all below `top`."""

    def __init__(self, path: Path, top: str) -> None:
        self._zip = zipfile.ZipFile(path)
        self._top = top
        self._below: dict[str, list[str]] = {}  # listed once, not for each class
        for name in self._zip.namelist():
            if name.startswith(f"{top}/") and not name.endswith("/"):
                inner = name.removeprefix(f"{top}/")
                folder = str(PurePosixPath(inner).parent)
                self._below.setdefault(folder, []).append(inner)

    def has(self, name: str) -> bool:
        beside = self._below.get(str(PurePosixPath(name).parent), [])
        return name in self._below or name in beside

    def text(self, name: str) -> str:
        return self._read(name, LARGEST_LIST).decode("utf-8-sig")

    def files(self, folder: str) -> list[str]:
        return sorted(self._below.get(folder, []))

    def picture(self, name: str) -> Any:
        try:
            return self._read(name, LARGEST_PICTURE)
        # zlib, zipfile and KeyError: one bad picture is one unusable row
        except Exception as error:
            return error

    def _read(self, name: str, largest: int) -> bytes:
        member = self._zip.getinfo(f"{self._top}/{name}")
        # before anything is unpacked; `zipfile` stops at this size
        if member.file_size > largest:
            raise OSError(f"{name} would unpack to {member.file_size} bytes")
        return self._zip.read(member)


def find(
    archive: Archive, inner: str, marker: str, packed: Sequence[str] = ()
) -> Folder:
    """The folder that holds `marker`: the directory itself, or `inner` in it.

    Raises:
        DataError: neither does; a `packed` file that lies there is named.
    """
    # people unpack into a folder, or name the one that unpacking makes
    for root in (archive.directory, archive.directory / inner):
        if (root / marker).exists():
            return Folder(root)
    for name in packed:
        if (archive.directory / name).exists():
            raise archive.error(
                f"'{name}' is still packed; unpack it there (tar -xf '{name}')."
            )
    raise archive.error(f"there is no '{marker}', neither here nor in '{inner}'.")


def lines(archive: Archive, store: Store, name: str) -> list[str]:
    """Lines of a list of the archive that are not blank.

    Raises:
        DataError: it is missing or no text.
    """
    if not store.has(name):
        raise archive.error(f"'{name}' is missing.")
    try:
        text = store.text(name)
    # packed or not, unreadable in many ways
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        raise archive.error(f"'{name}' cannot be read: {reason}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def pairs(archive: Archive, store: Store, name: str) -> list[tuple[str, str]]:
    """Lines of two words, split at the last space or at the first tab.

    Raises:
        DataError: it is missing, no text, or a line has one word.
    """
    result = []
    for number, line in enumerate(lines(archive, store, name), 1):
        # names may have spaces, numbers have none; after a tab either may
        left, gap, right = line.rpartition(" ")
        if "\t" in line:
            left, gap, right = line.partition("\t")
        if not gap or not left.strip():
            raise archive.error(
                f"line {number} of '{name}' is not a pair: '{line[:60]}'."
            )
        result.append((left.strip(), right.strip()))
    return result


def class_of(
    archive: Archive,
    number: str | int,
    classes: Sequence[str],
    where: str,
    first: int = 0,
) -> str:
    """The class with a number; counting begins at `first`. Raises DataError when there is none."""
    try:
        k = int(number) - first
        if not 0 <= k < len(classes):
            raise ValueError  # told like a label that is no number
    except ValueError as error:
        raise archive.error(
            f"{where} has the label '{number}'; there are {len(classes)} classes."
        ) from error
    return classes[k]


def first_synonyms(names: dict[str, str]) -> dict[str, str]:
    """Class -> the first of its synonyms, such as "tench" of "tench, Tinca tinca".

    All of them where two classes share the first, so that no two have the same name.
    """
    short = {c: text.partition(",")[0].strip() for c, text in names.items()}
    counts = Counter(short.values())
    return {c: name if counts[name] == 1 else names[c] for c, name in short.items()}


def listing(
    archive: Archive,
    store: Store,
    keys: Sequence[str],
    labels: dict[str, Sequence[str | None]],
    whole: int,
    names: dict[str, str],
) -> Listing:
    """A part whose images are files.

    Args:
        whole: how many images the whole part has; another number becomes a note.
        names: every class in the archive's order -> its name in prompts.

    Raises:
        DataError: no images, an image twice, a name that leads out of the folder, or the first
            image is not there.
    """
    if not keys:
        raise archive.error("it lists no images.")
    for key in keys:
        # Windows separates folders by backslashes; a zero byte ends a path
        if key.startswith("/") or ".." in key.split("/") or "\\" in key or "\0" in key:
            raise archive.error(f"it lists '{key}', which leads out of the archive.")
    check_unique(archive, keys)
    # one look tells a wrong folder; looking at all would take minutes on a network disk
    if not store.has(keys[0]):
        raise archive.error(f"'{keys[0]}' is missing, the first image on the list.")
    # classes that only other parts have would be told as unused
    seen = set().union(*labels.values())
    used = {c: n for c, n in names.items() if c in seen and c != n}
    notes = size_note(len(keys), whole)
    return Listing(keys, labels, store.picture, used, notes, list(names))


def check_unique(archive: Archive, keys: Sequence[str]) -> None:
    """Raises DataError when an image stands twice on a list."""
    if len(set(keys)) < len(keys):
        raise archive.error(f"'{Counter(keys).most_common(1)[0][0]}' is listed twice.")


def size_note(images: int, whole: int) -> list[str]:
    """The note that this is not the whole part."""
    if images == whole:
        return []
    return [f"{images:,} images; the official part has {whole:,}"]


def spec(
    archive: Archive, split: str, images: Listing, truth: str | None = None
) -> DataSpec:
    """The archive as data. The folder is named in full, so that a run finds it from anywhere."""
    return DataSpec(
        f"{PREFIX}{archive.name}:{archive.directory.resolve()}",
        split=split,
        label_column=next(iter(images.labels)),
        truth_column=truth,
        class_names=dict(images.names),
    )
