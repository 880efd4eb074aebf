"""Cells of a Parquet table by the numbers of their rows, and the order in which they are read fast.

A row group is unpacked as a whole, whichever of its rows is wanted. So what many rows are wanted
of is asked for in the order in which they lie, and the group of the last one is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelsieve.data.sources._formats import AT_ONCE

# Bytes of the images of a row group that are kept, as neighbours are often wanted together; of
# a larger one only a few rows are.
KEPT = 64 << 20
# Groups and parts of them that are kept: several threads ask for rows around a border at once.
LATELY = 2
# The uri of a row, as `labelsieve.data.sources.table` writes it.
ROW = r"(?s)^row:(?P<number>[0-9]+)(?::(?P<part>.+))?$"
DIGITS = 19  # of the largest number of a row


def storage_order(uris: pa.ChunkedArray) -> np.ndarray:
    """Rows [n] int64 in the order in which their pictures lie: table by table, folder by folder.

    Args:
        uris: [n] strings.
    """
    found = pc.extract_regex(uris, ROW)
    # numbers as text: a file of this name may have more digits than an integer holds
    number = pc.utf8_lpad(pc.struct_field(found, "number"), DIGITS, "0")
    part = pc.struct_field(found, "part")
    table = pa.table({"part": part, "number": number, "uri": uris})
    keys = [(name, "ascending") for name in table.column_names]
    order: np.ndarray = pc.sort_indices(table, keys).to_numpy()
    return order.astype(np.int64)


@dataclass
class _Cursor:
    """Where reading of a huge row group stands: the parts of `AT_ONCE` rows read last."""

    group: int
    parts: Iterator[pa.RecordBatch]
    next: int
    kept: dict[int, Any]


class Cells:
    """One column of a Parquet file; not for several threads at once.

    Attributes:
        stamp: of the file when it was opened.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.stamp = stamp_of(path)
        self._path = path
        self._column = column
        # the list of groups is read once: there may be thousands, and rows by the million
        self._about = pq.read_metadata(path)
        count = self._about.num_row_groups
        self._sizes = [self._about.row_group(g).num_rows for g in range(count)]
        self._ends = np.cumsum(self._sizes, dtype=np.int64)
        self._kept: dict[int, Any] = {}
        self._cursor: _Cursor | None = None

    def read(self, number: int) -> Any:
        """The cell of a row. Raises IndexError where there is none of this number."""
        group = int(np.searchsorted(self._ends, number, side="right"))
        if group == len(self._ends):
            raise IndexError(number)
        row = number - int(self._ends[group]) + self._sizes[group]
        if _size(self._about.row_group(group), self._column) > KEPT:
            return self._streamed(group, row)
        cells = self._kept.pop(group, None)
        if cells is None:
            # the file is not held open: it may be written anew meanwhile
            file = pq.ParquetFile(self._path, metadata=self._about)
            cells = file.read_row_group(group, columns=[self._column])[self._column]
        _keep(self._kept, group, cells)
        return cells[row].as_py()

    def _streamed(self, group: int, row: int) -> Any:
        """The same of a group that is too large to be kept: forward from where it stands."""
        at, wanted = self._cursor, row // AT_ONCE
        if at is None or at.group != group or wanted < min(at.kept, default=0):
            file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20)
            parts = file.iter_batches(AT_ONCE, [group], columns=[self._column])
            at = self._cursor = _Cursor(group, iter(parts), 0, {})
        # parts before it are decoded and dropped
        while at.next <= wanted:
            _keep(at.kept, at.next, next(at.parts))
            at.next += 1
        return at.kept[wanted].column(0)[row % AT_ONCE].as_py()


def _keep(kept: dict[int, Any], number: int, what: Any) -> None:
    """Put it beside what was kept last."""
    while len(kept) >= LATELY:
        del kept[next(iter(kept))]
    kept[number] = what


def stamp_of(path: Path) -> tuple[int, int, int]:
    """By which a file is known to be the one that it was."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size, about.st_ino


def _size(group: Any, column: str) -> int:
    """Bytes that a column takes in a row group, unpacked."""
    sizes = [0]
    for number in range(group.num_columns):
        part = group.column(number)
        # "image.bytes" is a part of "image"
        if part.path_in_schema.split(".")[0] == column:
            sizes.append(part.total_uncompressed_size)
    return sum(sizes)
