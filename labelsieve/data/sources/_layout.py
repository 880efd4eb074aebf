"""What a folder or file looks like: told from a few names, so that every refusal can say it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelsieve.data.sources import STATE
from labelsieve.data.sources._formats import format_of
from labelsieve.errors import DataError
from labelsieve.files import readable

# The formats of `labelsieve.data.images.FORMATS`, as files are named.
IMAGE_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".jp2", ".avif"),
        *(".heic", ".heif", ".tga", ".pcx"),
    ]
)
# Texts as files of their own.
TEXT_SUFFIXES = frozenset([".txt", ".text"])
# As torchvision, Keras, Hugging Face and people call them.
SPLITS = frozenset(
    [
        *("train", "training", "val", "valid", "validation"),
        *("test", "testing", "dev", "eval"),
    ]
)
# The name of a split as a part of a file's name: "train-00000-of-00003", "cats_test.csv".
SPLIT = re.compile(rf"(?i)(?:^|[/._\- ])({'|'.join(sorted(SPLITS))})(?=[/._\- 0-9]|$)")
# Tables beside pictures that people call so hold their labels.
LABEL_TABLES = re.compile(
    r"(?i)(labels?|annotations?|metadata|train|data|classes|meta)"
)
# Words in names of folders that say nothing of classes, beside those of splits.
PLAIN = SPLITS | {
    "image",
    "images",
    "img",
    "imgs",
    "data",
    "dataset",
    "picture",
    "pictures",
}
# What lies in such folders says something of pictures in others.
ABOUT = frozenset(
    [
        *("annotation", "annotations", "annots", "xml", "xmls", "label", "labels"),
        *("mask", "masks", "segmentation", "segmentations", "trimaps"),
    ]
)
# Several names as one, as shells have it: {a,b}.
SEVERAL = re.compile(r"\{([^{}]*,[^{}]*)\}")
# What makes a pattern of a path: as shells have it, and ranges of shards, {000..012}.
PATTERN = re.compile(rf"[*?\[]|\{{\d+\.\.\d+\}}|{SEVERAL.pattern}")
DEEPEST = 3  # levels of folders that are looked at
MOST_FOLDERS = 64  # of each level
MOST_NAMES = 2000  # of each folder: what a folder holds shows in its first names


@dataclass
class Look:
    """What was seen of a folder: paths below it, in the order of their names.

    Attributes:
        tables: CSV, TSV, JSONL and Parquet.
        pictures: by their suffix; only some of many.
        others: all other files.
    """

    tables: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def ending(self, *suffixes: str) -> list[str]:
        """Other files with one of these suffixes."""
        return [name for name in self.others if name.lower().endswith(suffixes)]


def is_image(name: str) -> bool:
    """Whether a file is a picture by its name."""
    _, dot, suffix = name.rpartition(".")  # five times as fast as os.path.splitext
    return dot + suffix.lower() in IMAGE_SUFFIXES


def is_text(name: str) -> bool:
    """Whether a file is a text by its name."""
    return os.path.splitext(name)[1].lower() in TEXT_SUFFIXES


def look(folder: Path) -> Look:
    """Look at the first names in a folder and in the first folders below it."""
    seen = Look()
    level = [""]
    for _ in range(DEEPEST):
        below: list[str] = []
        for inner in level[:MOST_FOLDERS]:
            for name, is_folder in _names(folder, inner):
                (below if is_folder else _list_for(seen, name)).append(name)
        level = below
    return seen


def _names(folder: Path, inner: str) -> Iterator[tuple[str, bool]]:
    """What lies in one folder, by its path below the top, and whether it is a folder itself."""
    try:
        with os.scandir(folder / inner) as entries:
            found = []
            for entry, _ in zip(entries, range(MOST_NAMES), strict=False):
                if not entry.name.startswith((".", "__MACOSX")):
                    found.append((entry.name, entry.is_dir()))
    except OSError:  # what cannot be opened is named when it is read
        return
    for name, is_folder in sorted(found):
        yield (f"{inner}/{name}" if inner else name), is_folder


def _list_for(seen: Look, name: str) -> list[str]:
    if format_of(Path(name)) is not None:
        return seen.tables
    return seen.pictures if is_image(name) else seen.others


def split_of(name: str) -> str | None:
    """The split that a path below a data set names, such as "data/train-0.parquet"; the last."""
    found = SPLIT.findall(os.path.splitext(name)[0])
    return found[-1].lower() if found else None


def tables_in(folder: Path) -> list[str]:
    """Every table below a folder, as paths below it, sorted; hidden folders left out."""
    names = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", STATE))]
        for name in files:
            if not name.startswith(".") and format_of(Path(name)) is not None:
                inner = os.path.relpath(os.path.join(where, name), folder)
                names.append(inner.replace(os.sep, "/"))
    return sorted(names)


def has_pattern(path: Path) -> bool:
    """Whether a path that is no file names several, by a pattern or a range."""
    return not path.exists() and PATTERN.search(str(path)) is not None


def together(names: Sequence[str | Path]) -> str:
    """Several files as the one name that a run is recorded with, "{a.csv,b.csv}".

    Raises:
        DataError: a name is no file, or cannot stand in a pattern.
    """
    files = [str(name) for name in names]
    for file in files:
        if Path(file).is_dir() or "://" in file:
            raise DataError(
                f"'{readable(file)}' is one of {len(files)} names, and no file.",
                "Several names are one data set where they are tables or annotation files; "
                "put folders into one folder, or scan each by itself.",
            )
        if not Path(file).is_file():
            raise DataError(f"'{readable(file)}' does not exist.")
        if set(file) & set("{},"):
            raise DataError(
                f"'{readable(file)}' has a comma or a brace in its name, and cannot be named "
                "beside others.",
                "Rename it, or name all by a pattern such as 'tables/*.csv'.",
            )
    return files[0] if len(files) == 1 else f"{{{','.join(files)}}}"


def names_of(path: Path) -> list[str]:
    """The parts of a pattern that names several, "{a,b}.csv"; else the path itself."""
    whole = str(path)
    found = SEVERAL.search(whole)
    if found is None:
        return [whole]
    before, after = whole[: found.start()], whole[found.end() :]
    # of several braces one after another
    names: list[str] = []
    for part in found[1].split(","):
        names += names_of(Path(f"{before}{part}{after}"))
    return names


def matching(path: Path) -> list[str]:
    """Files that a pattern names, sorted; also those of {a,b} that do not exist."""
    found: dict[str, None] = {}
    for name in names_of(path):
        literal = Path(name).exists() or not glob.has_magic(name)
        here = (
            [name] if literal and name != str(path) else glob.glob(name, recursive=True)
        )
        found.update(dict.fromkeys(here))
    return sorted(found)


def fixed_part(path: Path) -> Path:
    """The folders of a pattern before the first that is one itself."""
    names = names_of(path)
    if len(names) > 1:
        tops = [fixed_part(Path(name)) for name in names]
        # a folder above this one, or another drive, has no name from here
        plain = not any(".." in top.parts or top.is_absolute() for top in tops)
        parts = [str(top) if plain else os.path.abspath(top) for top in tops]
        return Path(os.path.commonpath(parts))
    fixed = []
    for part in path.parts[:-1]:
        if PATTERN.search(part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def is_plain(name: str) -> bool:
    """Whether the name of a folder says nothing of a class: "images", "train2017"."""
    words = re.sub(r"[\d_\- .]+", " ", name.lower()).split()
    return bool(words) and all(word in PLAIN for word in words)


def is_no_class(name: str) -> bool:
    """Whether a folder of this name is one of pictures, or of what is said about them."""
    return is_plain(name) or name.lower() in ABOUT


def with_pictures(folder: Path, inner: list[str]) -> list[str]:
    """Those of some folders that hold pictures; all where none was seen."""
    seen = {name.partition("/")[0] for name in look(folder).pictures}
    return [name for name in inner if name in seen] or inner


def is_alone(folder: Path, inner: list[str]) -> bool:
    """Whether all pictures lie in one folder named like a class, which would be the only one.

    Beside the metadata of class folders it is a class.
    """
    seen = look(folder)
    deep = any(name.count("/") > 1 for name in seen.pictures)
    described = any(Path(name).stem == "metadata" for name in seen.tables)
    return len(inner) == 1 and not (deep or described or is_no_class(inner[0]))


def has_class(name: str, inner: list[str]) -> bool:
    """Whether a folder below one of `inner` may be a class, in the name of a picture."""
    first, *below = name.split("/")[:-1] or [""]
    return not (first in inner and all(map(is_no_class, below)))


def label_table(seen: Look) -> str | None:
    """A table beside pictures that is named like labels."""
    for name in seen.tables:
        # some tools begin such names so that they are the first
        if LABEL_TABLES.match(Path(name).stem.lstrip("_")):
            return name
    return seen.tables[0] if len(seen.tables) == 1 else None
