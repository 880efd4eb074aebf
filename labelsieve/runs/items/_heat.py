"""Maps of where pictures disagree with their labels: a file of the run, by sample id.

heat.parquet has a row for each picture with a map (those a person may look at, a few thousand at
most): sample_id, and heat, g · g bytes row by row, 0..255 for shares of 0..1. They cover what the
model saw of the picture: all of it, or its middle.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelsieve.errors import RunError
from labelsieve.runs._shape import check_ids
from labelsieve.runs.digests import RESTORE
from labelsieve.runs.run import Run
from labelsieve.tables import RowsOf, read_parquet, write_parquet

NAME = "heat.parquet"
FINEST = 64  # cells a side that a file may have


class Maps:
    """Maps of some pictures of a run.

    Args:
        ids: [m] strings. values: [m, g, g] uint8.
        whole: whether they cover the whole picture, whatever its shape, and not its middle.
        middle: share of the shorter side that the middle has.
    """

    def __init__(
        self, ids: pa.Array, values: np.ndarray, whole: bool, middle: float
    ) -> None:
        self._rows = RowsOf(ids)
        self._values = values
        self._whole, self._middle = whole, middle

    def __contains__(self, sample_id: str) -> bool:
        return self._rows.get(sample_id, -1) >= 0

    def get(self, sample_id: str) -> np.ndarray | None:
        """[g, g] uint8; None where a picture has no map."""
        row = self._rows.get(sample_id, -1)
        return self._values[row] if row >= 0 else None

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of what a map covers of a picture."""
        if self._whole:
            return 0, 0, width, height
        side = max(1, round(self._middle * min(width, height)))
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side


def write(folder: Path, ids: pa.Array, maps: np.ndarray) -> None:
    """Write maps [m, g, g] in 0..1 of the pictures `ids` [m] into a run folder."""
    as_bytes = np.round(255 * maps).astype(np.uint8)
    cells = maps.shape[1] * maps.shape[2]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(as_bytes.reshape(-1)), cells)
    write_parquet(pa.table({"sample_id": ids, "heat": lists}), folder / NAME)


def of_run(opened: Run) -> Maps | None:
    """The maps of a run; None where its method made none.

    Raises:
        RunError: the file is damaged, or not what a scan writes.
    """
    path = opened.file(NAME)
    # only some methods make them
    if not path.exists():
        return None
    table = read_parquet(path)
    values = _values(path, table)
    wanted = opened.record.get("preprocess", {})
    edge, side = wanted.get("shortest_edge"), wanted.get("height")
    # the middle is a square of `height` pixels after the shorter side has `shortest_edge`
    known = all(isinstance(n, int) and n > 0 for n in (edge, side))
    middle = min(1.0, side / edge) if known else 1.0
    return Maps(table["sample_id"].combine_chunks(), values, edge is None, middle)


def _values(path: Path, table: pa.Table) -> np.ndarray:
    """[m, g, g] uint8 of a file that may be anybody's."""
    if table.column_names != ["sample_id", "heat"]:
        raise _damaged(path, "it does not have the columns sample_id and heat")
    if not pa.types.is_string(table.schema.field("sample_id").type):
        raise _damaged(path, "'sample_id' is of another type")
    check_ids(path, table)
    kind = table.schema.field("heat").type
    fixed = pa.types.is_fixed_size_list(kind) and pa.types.is_uint8(kind.value_type)
    side = math.isqrt(kind.list_size) if fixed else 0
    if not 0 < side <= FINEST or side * side != kind.list_size:
        raise _damaged(path, "'heat' are no square maps")
    flat = table["heat"].combine_chunks().flatten()
    if flat.null_count or len(flat) != side * side * len(table):
        raise _damaged(path, "a map is missing")
    values: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(-1, side, side)
    return values


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"'{path}' is damaged: {why}.", RESTORE)
