"""A folder of pictures with metadata.jsonl, metadata.csv or metadata.parquet beside them.

The image folder convention of Hugging Face: a column `file_name` holds paths from the table's
folder, the other columns describe the pictures. Split folders may have a table each. Where the
table has no labels, folders of classes give them (`folder`).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve.data.sources import Row, _jsonl
from labelsieve.data.sources._columns import LABEL_NAMES
from labelsieve.data.sources._formats import format_of, schema_of
from labelsieve.data.sources._layout import SPLITS, is_image, look
from labelsieve.data.sources._remote import url_of
from labelsieve.data.sources._stores import leads_out
from labelsieve.data.sources.shards import Part, ShardsSource, of_parts
from labelsieve.data.spec import DataSpec
from labelsieve.errors import ImageError
from labelsieve.files import uri_to_path
from labelsieve.progress import counted

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or not path.is_dir() or not look(path).pictures:
        return False
    parts = _parts(path)
    if not parts:
        return False
    named = spec.label_column or spec.vote_columns or spec.count_columns
    if named or not spec.labelled:
        return True
    # without labels, folders of classes may have them
    columns = {name.lower() for name in _column_names(path / parts[0].name)}
    return not columns.isdisjoint(LABEL_NAMES)


def open_source(spec: DataSpec) -> MetadataSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    parts = _parts(path)
    source = of_parts(spec, path, parts, confined=True)
    return MetadataSource(**vars(source))


def _parts(folder: Path) -> list[Part]:
    """Its own table, or those of its split folders."""
    for name in NAMES:
        # one for all, beside the folders
        if (folder / name).is_file():
            return [Part(name)]
    parts = []
    for split in sorted(n for n in os.listdir(folder) if n.lower() in SPLITS):
        own = [name for name in NAMES if (folder / split / name).is_file()]
        # the first of several formats, as of the folder itself
        parts += [Part(f"{split}/{name}", split) for name in own[:1]]
    return parts


def _column_names(table: Path) -> list[str]:
    """Of JSON lines those of the first: all would have to be read for the others."""
    if format_of(table) == "jsonl":
        return list(next(_jsonl.records(table), (0, {}))[1])
    return list(schema_of(table).names)


@dataclass
class MetadataSource(ShardsSource):
    """Pictures that tables describe."""

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the tables; pictures that are in none are counted."""
        count = 0
        for row in super().rows():
            count += 1
            yield row
        # counted, and not compared: a list of a million names takes memory
        pictures = sum(_pictures(table.root) for table in self.tables)
        # rows without a picture are named when they are read
        if self.split is None and pictures > count:
            self.notes.append(
                counted(pictures - count, "picture", "is", "are")
                + f" in no row of '{self.parts[0].name}' and left out"
            )

    def read(self, uri: str) -> Any:
        """As `ShardsSource.read`; nothing outside of the folder."""
        if url_of(uri) is None and leads_out(posixpath.normpath(uri_to_path(uri))):
            raise ImageError("it leads out of the data")
        # links are looked at there
        return super().read(uri)


def _pictures(folder: Path) -> int:
    """How many pictures lie below a folder."""
    count = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += sum(is_image(name) and not name.startswith(".") for name in files)
    return count
