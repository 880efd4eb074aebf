"""Files of numbers that a user's own model gave: a row per image, with the id of the image.

`.npy` (an array; ids a line each in FILE.ids.txt beside it), `.npz` (arrays `ids` and one more),
Parquet, CSV, TSV and JSON lines (a column of ids, and either one column of lists or a column per
number: of class probabilities its name is the class).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelsieve.data.sources._formats import format_of, named, open_table, schema_of
from labelsieve.errors import DataError
from labelsieve.files import readable

MAGIC = (b"\x93NUMPY", b"PK")  # how files of numpy.save and numpy.savez begin
# Columns of ids as people call them, the likeliest first.
ID_NAMES = ("sample_id", "id", "key", "path", "image", "file_name", "filename", "file")


def read_values(path: Path, flag: str) -> Any:
    """What a file holds, as `labelsieve.load` takes it.

    Args:
        flag: the option that names it, for messages.

    Returns:
        (ids, [m, d] float32), a table with a column "id" and one per number, or an array [m, d]
        without ids, whose rows are matched by position if the user says so.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"{flag} '{readable(path)}' does not exist.")
    if suffix in (".npy", ".npz"):
        return _of_numpy(path, flag)
    if format_of(path) is None:
        raise DataError(
            f"{flag} '{readable(path)}' is of no kind that is read.",
            "Give .npy, .npz, .parquet, .csv, .tsv or .jsonl.",
        )
    return _of_table(path, flag)


def _of_numpy(path: Path, flag: str) -> Any:
    # a header may be broken Python, a member encrypted, a size made up: errors of many kinds
    with named(path, kind=path.suffix[1:].upper()):
        _check_start(path, flag)
        # pickles could run code
        loaded = np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".npz":
            return _of_archive(dict(loaded), path, flag)
    _check_array(loaded, path, flag)
    beside = path.with_suffix(".ids.txt")
    if not beside.is_file():
        return loaded
    with named(beside, kind="UTF-8 text"):
        ids = beside.read_text(encoding="utf-8").splitlines()
    return _paired(ids, loaded, path, flag)


def _check_start(path: Path, flag: str) -> None:
    """Raises DataError for what is no array file: numpy would advise to trust it."""
    with path.open("rb") as file:
        start = file.read(len(MAGIC[0]))
    if start and not start.startswith(MAGIC):
        raise DataError(
            f"{flag} '{readable(path)}' holds no arrays.",
            "Pickles are not read, as they could run code; write it with numpy.save.",
        )


def _check_array(values: Any, path: Path, flag: str) -> None:
    """Raises DataError unless it is an array [images, numbers]."""
    is_array = isinstance(values, np.ndarray)
    # of bytes where a member of an archive is no array; of complex numbers half would be lost
    if not is_array or values.ndim != 2 or values.dtype.kind not in "biuf":
        shown = f"{values.dtype} {list(values.shape)}" if is_array else "no array"
        raise DataError(
            f"{flag} '{readable(path)}' holds {shown}.",
            "An array of real numbers, [images, numbers], is needed.",
        )


def _of_archive(arrays: dict[str, Any], path: Path, flag: str) -> Any:
    others = [name for name in arrays if name != "ids"]
    if len(others) != 1:
        raise DataError(
            f"{flag} '{readable(path)}' holds {len(others)} arrays besides 'ids', not one."
        )
    values = arrays[others[0]]
    _check_array(values, path, flag)
    if "ids" not in arrays:
        return values
    ids = arrays["ids"]
    if not isinstance(ids, np.ndarray) or ids.ndim != 1:
        raise DataError(f"{flag} '{readable(path)}': 'ids' is no list of ids.")
    return _paired([str(i) for i in ids.tolist()], values, path, flag)


def _paired(ids: list[str], values: np.ndarray, path: Path, flag: str) -> Any:
    if len(ids) != len(values):
        raise DataError(
            f"{flag} '{readable(path)}' has {len(values)} rows and {len(ids)} ids."
        )
    return ids, values


def _of_table(path: Path, flag: str) -> Any:
    names = schema_of(path).names
    lower = {name.lower(): name for name in names}
    column = next((lower[name] for name in ID_NAMES if name in lower), None)
    if column is None:
        raise DataError(
            f"{flag} '{readable(path)}' has no column of ids.",
            f"Call it id; there are: {', '.join(names)}.",
        )
    others = [name for name in names if name != column]
    table = _read(path, names, column)
    if not len(table):
        raise DataError(f"{flag} '{readable(path)}' has no rows.")
    if len(others) == 1 and pa.types.is_nested(table.schema.field(others[0]).type):
        return _of_lists(table, column, others[0], path, flag)
    columns = {"id": pa.array(_ids(table[column], path, flag), pa.string())}
    for name in others:
        columns[name] = _numbers(table[name], name, path, flag)
    return pa.table(columns)


def _ids(values: pa.ChunkedArray, path: Path, flag: str) -> list[str]:
    if pa.types.is_nested(values.type) or values.null_count:
        raise DataError(
            f"{flag} '{readable(path)}': the ids are {values.type}, "
            f"{values.null_count} of them empty.",
            "Each row needs one.",
        )
    return [str(value) for value in values.to_pylist()]


def _read(path: Path, names: list[str], ids: str) -> pa.Table:
    records: list[dict[str, Any]] = []
    with named(path):
        for part in open_table(path, names).parts:
            records += [{**one, ids: _written(one.get(ids))} for one in part]
        # types are those of the values: text where a text table has text
        return pa.Table.from_pylist(records, schema=None)


def _written(value: Any) -> Any:
    """An id as it is written, where it is a whole number: JSON's have any number of digits."""
    return str(value) if type(value) is int else value


def _numbers(values: pa.ChunkedArray, name: str, path: Path, flag: str) -> Any:
    try:
        numbers = pc.cast(values, pa.float32())
    except pa.ArrowException as error:
        raise DataError(
            f"{flag} '{readable(path)}': column '{name}' holds no numbers.",
            "Leave out columns that are neither ids nor numbers.",
        ) from error
    if numbers.null_count:
        raise DataError(f"{flag} '{readable(path)}': column '{name}' has empty cells.")
    return numbers


def _of_lists(
    table: pa.Table, column: str, values: str, path: Path, flag: str
) -> tuple[list[str], np.ndarray]:
    ids = _ids(table[column], path, flag)
    rows = table[values].to_pylist()
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if len(widths) != 1 or 0 in widths:
        shown = ", ".join(map(str, sorted(widths)[:3]))
        raise DataError(
            f"{flag} '{readable(path)}': the lists in '{values}' have {shown} numbers.",
            "All need as many.",
        )
    try:
        return ids, np.asarray(rows, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{flag} '{readable(path)}': the lists in '{values}' hold no numbers."
        ) from error
