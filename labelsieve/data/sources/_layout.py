"""What a folder or file looks like: told from a few names, so that every refusal can say it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from labelsieve.data.sources import STATE
from labelsieve.data.sources._formats import SUFFIXES

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
# What makes a pattern of a path: as shells have it, and ranges of shards, {000..012}.
PATTERN = re.compile(r"[*?\[]|\{\d+\.\.\d+\}")
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
    if os.path.splitext(name)[1].lower() in SUFFIXES:
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
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                inner = os.path.relpath(os.path.join(where, name), folder)
                names.append(inner.replace(os.sep, "/"))
    return sorted(names)


def has_pattern(path: Path) -> bool:
    """Whether a path that is no file names several, by a pattern or a range."""
    return not path.exists() and PATTERN.search(str(path)) is not None


def fixed_part(path: Path) -> Path:
    """The folders of a pattern before the first that is one itself."""
    fixed = []
    for part in path.parts[:-1]:
        if PATTERN.search(part):
            break
        fixed.append(part)
    return Path(*fixed) if fixed else Path()


def label_table(seen: Look) -> str | None:
    """A table beside pictures that is named like labels."""
    for name in seen.tables:
        if LABEL_TABLES.match(Path(name).stem):
            return name
    return seen.tables[0] if len(seen.tables) == 1 else None
