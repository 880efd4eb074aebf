"""Many tables as one data set: a folder of shards, a glob, a cloned Hugging Face repository.

`scan data/`, `scan 'data/train-*.parquet'`. Splits are the names in the names of the files
("train-00000-of-00003.parquet"), or a column "split". Shards are read one after another, in the
order of their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from labelsieve.data.labels import SINGLE
from labelsieve.data.sources import Row
from labelsieve.data.sources._columns import Columns, choose
from labelsieve.data.sources._formats import format_of, named, schema_of
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources._labels import Tally, ask_for_separator
from labelsieve.data.sources._layout import (
    fixed_part,
    has_pattern,
    look,
    matching,
    names_of,
    split_of,
    tables_in,
)
from labelsieve.data.sources._stores import (
    LOOKED_FOR,
    Outside,
    Store,
    as_written,
    is_there,
    led_out,
)
from labelsieve.data.sources.table import ROW, TableSource, store_of
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, unknown
from labelsieve.files import (
    POINTER,
    Bounds,
    path_to_uri,
    readable,
    refuse_endless,
    uri_to_path,
)
from labelsieve.progress import plain

# "train-00000-of-00003.parquet": how many shards there are of it
NUMBERED = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)")
SHOWN = 3  # names in one message


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    if path is None or "://" in str(spec.data):
        return False
    if not path.is_dir():
        if not has_pattern(path):
            return False
        # a pattern that fits nothing is ours to refuse where it ends like a table
        return bool(format_of(path) or any(format_of(Path(n)) for n in matching(path)))
    if any((path / n).exists() for n in ("dataset_info.json", "dataset_dict.json")):
        return False
    # tables beside pictures are something else: metadata, or labels
    seen = look(path)
    return bool(seen.tables) and not seen.pictures


def open_source(spec: DataSpec) -> ShardsSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    if path.is_dir():
        top, names = path, tables_in(path)
    else:
        top, names = _of_glob(path)
    names = _of_one_format(spec, names)
    parts = [Part(name, split_of(name)) for name in names]
    return of_parts(spec, top, parts, confined=path.is_dir())


def _of_glob(path: Path) -> tuple[Path, list[str]]:
    """The folder that holds all files of a pattern, and their names below it."""
    top = fixed_part(path)
    names = []
    by_name = len(names_of(path)) > 1
    for file in matching(path):
        # what was named by itself was meant, while a pattern may fit anything
        if by_name and not Path(file).is_file():
            raise DataError(f"'{readable(file)}' does not exist.")
        if format_of(Path(file)) and Path(file).is_file():
            names.append(os.path.relpath(file, top).replace(os.sep, "/"))
        elif by_name:
            raise DataError(
                f"'{readable(file)}' is no table as '{names[0] if names else path}' is.",
                "Name files of one kind.",
            )
    if not names:
        raise DataError(f"'{path}' fits no file.", "Check the pattern.")
    return top, names


def _of_one_format(spec: DataSpec, names: list[str]) -> list[str]:
    kinds = sorted({str(format_of(Path(name))) for name in names})
    if len(kinds) > 1:
        raise DataError(
            f"'{spec.data}' holds tables of several formats: {', '.join(kinds)}.",
            f"Name some of them by a pattern, such as '{spec.data}/*.{kinds[0]}'.",
        )
    return names


@dataclass(frozen=True)
class Part:
    """One table of a data set.

    Attributes:
        name: its path below the data set, with slashes.
        split: that its name gives; None where it gives none.
    """

    name: str
    split: str | None = None


def of_parts(
    spec: DataSpec, top: Path, parts: list[Part], *, confined: bool = False
) -> ShardsSource:
    """A source of these tables, which have the same columns.

    Args:
        confined: they lie in a folder that was named, and may name pictures in it alone:
            a folder is often a stranger's.

    Raises:
        DataError: no table has the split that was asked for, or one cannot be read.
    """
    notes = _missing(parts)
    parts = _wanted(spec, parts)
    # all of them, before the first is read
    for part in parts:
        _check_file(top / part.name)
    # what the first has, all have to have: it is checked when each is read
    first = top / parts[0].name
    # names of files say it for all rows, or a column for each
    by_name = any(part.split for part in parts)
    columns = choose(
        replace(spec, split=None) if by_name else spec, first, schema_of(first)
    )
    root = Path(spec.root) if spec.root else None
    store = store_of(root) if root else None
    homes = [top]
    if confined and root and not store and not _holds(root, first, columns):
        # the pictures lie with the tables: it says where links among them may lead
        homes.append(root)
        root = None
    return ShardsSource(
        top,
        parts,
        [
            replace(
                _table(top, part.name, root, columns, store),
                urls=spec.urls or "",
                homes=tuple(homes),
                confined=confined,
            )
            for part in parts
        ],
        root or top,
        None if by_name else spec.split,
        spec.label_separator is None,
        fixed_notes=notes,
        homes=tuple(homes),
    )


def _holds(root: Path, first: Path, columns: Columns) -> bool:
    """Whether pictures of the first rows lie below what --root names."""
    rows = TableSource(first, root, columns).all_rows(RowKeys(columns.id))
    names = [uri_to_path(row.uri) for row in islice(rows, LOOKED_FOR) if row.uri]
    beside = any(is_there(first.parent, name) for name in names)
    return not beside or any(is_there(root, name) for name in names)


def _table(
    top: Path, name: str, root: Path | None, columns: Columns, store: Store | None
) -> TableSource:
    path = top / name
    # without --root, each names pictures from its own folder
    folder = "" if root else name.rpartition("/")[0]
    return TableSource(
        path,
        root or path.parent,
        columns,
        part=path_to_uri(name),
        below=f"{path_to_uri(folder)}/" if folder else "",
        store=store,
    )


def _wanted(spec: DataSpec, parts: list[Part]) -> list[Part]:
    """Those of the split that was asked for, where names tell splits."""
    splits = {part.split for part in parts} - {None}
    if not parts:
        raise DataError(f"'{spec.data}' holds no tables.", "Check the name.")
    if spec.split is None or not splits:
        return parts
    # other splits are not even opened
    chosen = [part for part in parts if part.split == spec.split]
    if not chosen:
        raise DataError(unknown("Split", spec.split, [str(s) for s in splits]))
    return chosen


def _missing(parts: list[Part]) -> list[str]:
    """Shards that the numbers of others say there are."""
    there = {part.name for part in parts}
    gone: dict[str, None] = {}
    for part in parts:
        found = NUMBERED.fullmatch(part.name)
        # a made-up number of shards must not make a list of that length
        if found and int(found[3]) <= 100_000:
            before, digits, count, after = found.groups()
            for number in range(int(count)):
                name = f"{before}{number:0{len(digits)}}-of-{count}{after}"
                if name not in there:
                    gone[name] = None
    shown = ", ".join(f"'{name}'" for name in list(gone)[:SHOWN])
    more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    return [f"{len(gone)} shards are missing: {shown}{more}"] if gone else []


def _check_file(path: Path) -> None:
    with named(path):
        refuse_endless(path)
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        raise DataError(
            f"'{readable(path)}' is a pointer of Git LFS and not the file itself.",
            "Run git lfs pull in the repository.",
        )


@dataclass
class ShardsSource:
    """Rows of many tables, one table after another.

    Attributes:
        top: the folder that names of shards are below.
        root: the folder that paths in uris are below.
        split: of the column "split".
        asks: whether labels that look like sets are to be asked about.
        fixed_notes: what was found odd when it was opened.
    """

    top: Path
    parts: list[Part]
    tables: list[TableSource]
    root: Path
    split: str | None = None
    asks: bool = True
    notes: list[str] = field(default_factory=list)
    fixed_notes: list[str] = field(default_factory=list)
    homes: tuple[Path, ...] = ()  # folders beside it into which links may lead
    # file -> what is read in its place: as it was before it was corrected
    instead: dict[Path, Path] = field(default_factory=dict)
    lately: list[TableSource] = field(
        default_factory=list
    )  # that pictures were read of
    starts: list[int] = field(
        default_factory=list
    )  # the first row of each table, once listed

    @property
    def label_column(self) -> str | None:
        """The column of labels; None where there is none, or several people voted."""
        return self.tables[0].label_column

    @property
    def modality(self) -> str:
        """Of `labelsieve.data.modalities`."""
        return self.tables[0].modality

    @property
    def labels_are(self) -> str:
        """Of `labelsieve.data.labels`: SINGLE, or SET."""
        labelling = self.tables[0].columns.labelling
        return labelling.kind if labelling else SINGLE

    @property
    def classes(self) -> list[str]:
        """As the shards declare them, in their order."""
        names: dict[str, None] = {}
        for table in self.tables:
            names |= dict.fromkeys(table.classes)
        return list(names)

    def rows(self) -> Iterator[Row]:
        """Rows of shard after shard, in the order of their names."""
        self.notes[:] = self.fixed_notes
        self._check_labels()
        keys, tally = RowKeys(self.tables[0].columns.id), Tally()
        seen = 0
        number = 0
        outside = Outside(self.bounds)
        self.starts.clear()
        for part, table in zip(self.parts, self.tables, strict=True):
            self.starts.append(number)
            table.path = self._file(table)
            # the dialect of each may differ; the first says what they are like
            if not seen and table.dialect_note():
                self.notes.append(table.dialect_note())
            # so that messages name the shard with the row
            keys.begin(f"'{plain(part.name)}'")
            for row in table.all_rows(keys):
                number += 1
                if part.split is not None:
                    row = replace(row, split=part.split)
                if self.split is None or row.split == self.split:
                    seen += 1
                    tally.add(row.label, row.agreement)
                    if not table.confined:
                        outside.add(row.image)
                    yield row
        self.notes += [*tally.notes(), *outside.notes()]
        if self.split is not None and not seen:
            raise DataError(
                f"--split '{self.split}' matches no row of '{self.top}'.",
                "Check the column 'split'.",
            )

    def _file(self, table: TableSource) -> Path:
        """What is read of a table; once exchanged, it stays so."""
        return self.instead.get(table.path, table.path)

    def _check_labels(self) -> None:
        if not self.asks:
            return
        distinct: set[str] = set()
        for table in self.tables:
            distinct |= table.distinct_labels() or set()
        ask_for_separator(distinct, str(self.top))

    def read(self, uri: str) -> Any:
        """The image of one row again: bytes, or the path of its file."""
        embedded = ROW.fullmatch(uri)
        if not embedded:
            return self._named(uri)
        for table in self.tables:
            if table.part == embedded[2]:
                table.path = self._file(table)
                self._make_room(table)
                return table.read(uri)
        raise DataError(
            f"'{self.top}' has no '{plain(str(embedded[2]))}'.",
            "Were the shards changed after the scan?",
        )

    def _make_room(self, table: TableSource) -> None:
        """What each of a hundred tables keeps would fill the memory: two may keep something."""
        before = [other for other in self.lately if other is not table]
        for other in before[:-1]:
            other.let_go()
        # threads ask for rows of two where one ends
        self.lately = [*before[-1:], table]

    def _named(self, uri: str) -> Any:
        """A picture that a table names."""
        table = self.tables[0]
        if table.store:
            return table.read(uri)
        # without --root, uris are paths from the top
        file = as_written(self.root, uri_to_path(uri))
        if table.confined and not self.bounds.hold(file):
            return led_out(file).read_bytes()
        return file

    @cached_property
    def bounds(self) -> Bounds:
        """Where pictures lie that are part of the data, links followed."""
        return Bounds(self.root, *self.homes)
