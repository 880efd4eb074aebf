"""Tables of four formats as streams of records, a few rows in memory at a time.

Parquet written by Hugging Face datasets (images as {bytes, path}, labels as ClassLabel numbers)
is understood.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from labelsieve.data.sources import _jsonl
from labelsieve.data.sources._dialect import dialect_of
from labelsieve.data.sources._unpacked import bare, open_bytes, packing
from labelsieve.errors import DataError, LabelsieveError
from labelsieve.progress import plain

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
AT_ONCE = 128  # rows of a Parquet file in memory at a time: each may hold a large photo


@dataclass
class Opened:
    """A table as a stream."""

    schema: pa.Schema
    parts: Iterator[list[dict[str, Any]]]  # records, a few at a time


def format_of(path: Path) -> str | None:
    """csv, tsv, jsonl or parquet, by its suffix; None for any other file.

    Tables of text may be packed: "t.csv.gz" is csv.
    """
    kind = SUFFIXES.get(bare(path).suffix.lower())
    return None if kind == "parquet" and packing(path) else kind


@contextmanager
def named(
    path: Path, where: Callable[[], str] | None = None, kind: str = ""
) -> Iterator[None]:
    """Whatever a reader raises is named with the file, in one line.

    Files of strangers end in many kinds of errors: Arrow's own, ValueError of values that
    Python cannot hold, MemoryError of sizes that are made up.

    Args:
        where: gives the row, or what to do.
        kind: of the file; that of its suffix, where it is a table.
    """
    try:
        yield
    except LabelsieveError:
        raise
    except Exception as error:
        kind = kind or str(format_of(path)).upper()
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"'{path}' cannot be read as {kind}: {plain(lines[0].rstrip('.'))[:200]}.",
            where() if where else "Check the file.",
        ) from error


def schema_of(path: Path) -> pa.Schema:
    """Names and types of its columns; of text tables every type is text.

    Raises:
        DataError: it cannot be read.
    """
    with named(path):
        schema = open_table(path).schema
        for name in schema.names:  # fails here where a name is no text
            name.encode("utf-8")
        return schema


def open_table(path: Path, columns: Sequence[str] = ()) -> Opened:
    """A table as a stream of records with these columns; errors are those of its reader."""
    kind = format_of(path)
    if kind == "parquet":
        # pre_buffer would keep all that was read until the end, and without a buffer a row
        # group is read whole
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        batches = file.iter_batches(batch_size=AT_ONCE, columns=list(columns))
        return Opened(file.schema_arrow, _records(batches, columns))
    if kind == "jsonl":
        schema = pa.schema([]) if columns else _jsonl.schema(path)
        return Opened(schema, _jsonl.parts(path, columns))
    return _open_text(path, columns)


def _open_text(path: Path, columns: Sequence[str]) -> Opened:
    dialect = dialect_of(path, tabs=format_of(path) == "tsv")
    reader = pacsv.open_csv(
        # Arrow itself unpacks some kinds, and not all
        open_bytes(path) if packing(path) else path,
        # only without threads do errors name the row
        read_options=pacsv.ReadOptions(use_threads=False, encoding=dialect.encoding),
        parse_options=pacsv.ParseOptions(
            # a quoted cell may go over several lines
            delimiter=dialect.separator,
            newlines_in_values=True,
        ),
        convert_options=pacsv.ConvertOptions(
            # not guessed to be numbers or dates: 007 and 1e3 are labels, 0001 is a file name
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
            null_values=[""],  # a class may be called "null" or "NA"
        ),
    )
    return Opened(reader.schema, _records(reader, columns))


def _records(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str]
) -> Iterator[list[dict[str, Any]]]:
    for batch in batches:
        yield batch.select(list(columns)).to_pylist()


def odd_dialect(path: Path) -> list[str]:
    """What is said of a text table that is not written as its suffix has it."""
    kind = format_of(path)
    if kind not in ("csv", "tsv"):
        return []
    tabs = kind == "tsv"
    return dialect_of(path, tabs=tabs).notes("\t" if tabs else ",")


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names of a ClassLabel column, or of a list of these, as Hugging Face leaves them."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        feature = stored["info"]["features"][column]
        # a list of labels has the class in `feature`; earlier versions wrote a list of one
        inner = feature[0] if isinstance(feature, list) else feature
        names = inner["names"] if "names" in inner else inner["feature"]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None  # none, or of another tool
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return None
    return names or None
