"""The same table with other labels: only the cells that change, where the format allows it.

CSV, TSV and JSONL keep every other line as it is, to the byte. Parquet keeps columns, types,
metadata, row groups and compression.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelsieve.corrections.writers import Changes, Writer
from labelsieve.corrections.writers._single import FileWriter
from labelsieve.corrections.writers._spans import members
from labelsieve.corrections.writers._text import rewrite_text
from labelsieve.data.labels import in_order, read_set
from labelsieve.data.sources import Source, label_text
from labelsieve.data.sources._dialect import dialect_of
from labelsieve.data.sources._formats import format_of
from labelsieve.data.sources._jsonl import LONGEST_INT
from labelsieve.data.sources.table import TableSource, class_names
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError
from labelsieve.files import readable, sync
from labelsieve.progress import plain

# What the reader of JSON Lines strips, as bytes, from a line to see whether it is empty;
# `str.strip` alone would take more away.
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
BLANK = " \t\n\r\x0b\x0c"
LONGEST_CELL = 2**31 - 1  # what the reader of CSV can be told on every system
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")  # section 6


def accepts(source: Source) -> bool:
    """Is this a table?"""
    return isinstance(source, TableSource)


def open_writer(spec: DataSpec, source: TableSource) -> Writer:
    """Open it."""
    return TableWriter(spec, source.path, source.path.name)


class TableWriter(FileWriter):
    """Writes the table anew."""

    _called = "table"

    @property
    def _root(self) -> str:
        return self._spec.root or str(self._path.parent)

    def _write(self, source: Any, changes: Changes, target: Path) -> None:
        rewrite(source, changes, target)


def rewrite(source: TableSource, changes: Changes, target: Path) -> None:
    """Write the table with changed labels to `target`, and to the disk.

    Raises:
        DataError: a label that the column's type cannot hold.
    """
    kind = str(format_of(source.path))
    if kind == "parquet":
        _parquet(source, changes, target)
    else:
        _text(source, changes, target, kind)
    # the step that puts it in place must not come to the disk before it
    sync(target)


def cell(source: TableSource, label: str, old: Any) -> str:
    """A label as a cell of text holds it: a set as the table writes sets.

    Args:
        old: what the cell held.
    """
    labelling = source.columns.labelling
    if labelling is None:
        return label
    return labelling.cell(label, old if isinstance(old, str) else "")


def _text(source: TableSource, changes: Changes, target: Path, kind: str) -> None:
    if kind == "jsonl":
        # a carriage return may stand inside an object: only line feeds end a line there
        rewrite_text(
            source.path,
            target,
            "utf-8",
            lambda lines: _json_lines(lines, source, changes),
            ends="\n",
        )
        return
    dialect = dialect_of(source.path, tabs=kind == "tsv")
    rewrite_text(
        source.path,
        target,
        dialect.encoding,
        lambda lines: _csv(lines, source, changes, dialect.separator),
    )


def _label_column(source: TableSource) -> str:
    if source.label_column is None:
        raise DataError(
            f"'{source.path}' has no single label column.",
            "Name it with --label-column; votes of several people are not rewritten.",
        )
    return source.label_column


def _csv(
    lines: Iterator[str], source: TableSource, changes: Changes, delimiter: str
) -> Iterator[str]:
    limit = csv.field_size_limit()
    # a long cell would be an error; the limit is the whole process's and is put back
    csv.field_size_limit(max(limit, LONGEST_CELL))
    try:
        yield from _csv_lines(lines, source, changes, delimiter)
    finally:
        csv.field_size_limit(limit)


def _csv_lines(
    lines: Iterator[str], source: TableSource, changes: Changes, delimiter: str
) -> Iterator[str]:
    # lines of the record that is read: it may reach over several, which are kept as they are
    own: list[str] = []

    def taken() -> Iterator[str]:
        for line in lines:
            own.append(line)
            yield line

    reader = csv.reader(taken(), delimiter=delimiter)
    # as the reader does, which takes the first line that is not empty for the header
    column = _position(next(filter(None, reader), []), source)
    yield from own
    own.clear()
    number = 0
    for record in reader:
        # an empty line is no row, and row numbers are those of the reader
        if not record or number not in changes:
            yield from own
        elif changes[number] is not None:
            record[column] = cell(source, str(changes[number]), record[column])
            yield _csv_line(record, delimiter, _ending(own[-1]))
        own.clear()
        number += bool(record)
    yield from own


def _position(header: list[str], source: TableSource) -> int:
    column = _label_column(source)
    if column not in header:
        raise DataError(
            f"The first line of '{readable(source.path)}' does not name '{column}'.",
            "Check the file.",
        )
    return header.index(column)


def _csv_line(record: list[str], delimiter: str, ending: str) -> str:
    # quotes come where the new label needs them; a line keeps its own ending
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator=ending).writerow(record)
    return line.getvalue()


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _json_lines(
    lines: Iterator[str], source: TableSource, changes: Changes
) -> Iterator[str]:
    number = 0
    for line in lines:
        empty = not line.strip(BLANK)
        label = None if empty else changes.get(number, "")
        if empty or number not in changes:
            yield line
        elif label is not None:
            yield _json_line(line, label, source)
        number += not empty


def _json_line(line: str, label: str, source: TableSource) -> str:
    """A line with another label; all other characters stay as they are."""
    column = _label_column(source)
    start = line.index("{")
    spans = [span for name, *span in members(line, start) if name == column]
    # which of two would be meant depends on who reads it
    if len(spans) != 1:
        shown = plain(line.strip()[:40])
        raise DataError(
            f"'{column}' stands {len(spans)} times, not once, in the line '{shown}'.",
            f"Change '{readable(source.path)}' by hand.",
        )
    start, end = spans[0]
    # of thousands of digits Python makes no number; it is one all the same
    old = json.loads(line[start:end], parse_int=lambda text: int(text[:LONGEST_INT]))
    # True, 3 and "3" are three labels: the new one is of the old one's kind
    return line[:start] + _json_label(cell(source, label, old), old) + line[end:]


def _json_label(new: str, old: Any) -> str:
    """A label in JSON, as the old one is there: a truth value, a number, text."""
    try:
        if isinstance(old, bool):
            return {"True": "true", "False": "false"}[new]
        if isinstance(old, float):
            return _json_real(new)
        if isinstance(old, list):
            return _json_set(read_set(new), old)
        if isinstance(old, int) and len(new) > LONGEST_INT and WHOLE.fullmatch(new):
            return new
        value = int(new) if isinstance(old, int) else new
    except (ValueError, KeyError) as error:
        raise DataError(
            f"'{new}' cannot replace '{old}' in the label column.",
            "Choose another label.",
        ) from error
    return json.dumps(value, ensure_ascii=False)


def _json_set(new: list[str], old: list[Any]) -> str:
    """A list of labels in JSON: what stays is written as it was, what is new like the others."""
    before = {text: value for value in old if (text := label_text(value))}
    like = old[0] if old else ""
    parts = []
    for label in in_order(before, new):
        stays = label in before
        value = json.dumps(before.get(label), ensure_ascii=False)
        parts.append(value if stays else _json_label(label, like))
    return f"[{', '.join(parts)}]"


def _json_real(new: str) -> str:
    nearest = float(new)
    # a number with more digits than a float has, or a larger one, stays the text it is
    if NUMBER.fullmatch(new) and Decimal(repr(nearest)) != Decimal(new):
        return new
    return json.dumps(nearest)


def _parquet(source: TableSource, changes: Changes, target: Path) -> None:
    file = pq.ParquetFile(source.path)
    schema = file.schema_arrow
    column = _label_column(source)
    names = class_names(schema, column)
    about = file.metadata
    start = 0
    # group by group: a table of images need not fit into memory
    with pq.ParquetWriter(target, schema, compression=_compression(about)) as writer:
        for group in range(about.num_row_groups):
            part = file.read_row_group(group)
            end = start + len(part)
            mine = {r - start: v for r, v in changes.items() if start <= r < end}
            start = end
            if mine:
                texts = part[column].to_pylist()
                for row, label in mine.items():
                    mine[row] = label and cell(source, label, texts[row])
                part = _relabel(part, column, mine, names)
            # groups keep their borders, and none may be empty
            writer.write_table(part, row_group_size=max(1, len(part)))


def _compression(about: pq.FileMetaData) -> dict[str, str] | str:
    """How each column is packed, by its path: images often are not where text is."""
    # a table without rows says nothing; this is what pyarrow takes by itself
    if not about.num_row_groups:
        return "SNAPPY"
    group = about.row_group(0)
    packed = {}
    for number in range(group.num_columns):
        column = group.column(number)
        # the writer's word for the reader's
        packed[column.path_in_schema] = column.compression.replace(
            "UNCOMPRESSED", "NONE"
        )
    return packed


def _relabel(
    part: pa.Table, column: str, changes: Changes, names: list[str] | None
) -> pa.Table:
    part, kept = relabelled(part, column, changes, names)
    return part if len(kept) == len(part) else part.take(kept)


def relabelled(
    table: pa.Table, column: str, changes: Changes, names: list[str] | None
) -> tuple[pa.Table, list[int]]:
    """The table with other labels, and the rows that stay in it.

    Args:
        changes: rows with None do not stay.
        names: of the classes, where the column holds their numbers.
    """
    # in its place and with its metadata, where `datasets` keeps class names
    position = table.column_names.index(column)
    field = table.schema.field(column)
    values = table[column].to_pylist()
    for row, label in changes.items():
        if label is not None:
            values[row] = _typed(label, field.type, names, values[row])
    kept = [row for row in range(len(table)) if changes.get(row, "") is not None]
    return table.set_column(position, field, pa.array(values, field.type)), kept


def _typed(
    label: str, kind: pa.DataType, names: list[str] | None, old: Any = None
) -> Any:
    """A label as the column holds it: the number of a class, a number, text.

    Args:
        old: what the cell held: a set keeps its order.
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        before = [label_text(value, names) or "" for value in old or []]
        parts = in_order(before, read_set(label))
        return [_typed(part, kind.value_type, names) for part in parts]
    if names is not None and pa.types.is_integer(kind):
        if label not in names:
            raise DataError(
                f"'{label}' is not among the class names that the table declares.",
                "Choose one of those.",
            )
        # as `datasets` stores a ClassLabel
        return names.index(label)
    try:
        return _cast(label, kind)
    except (ValueError, pa.ArrowException) as error:
        raise DataError(
            f"'{label}' cannot stand in a label column of type {kind}.",
            "Choose another label.",
        ) from error


def _cast(label: str, kind: pa.DataType) -> Any:
    """Raises ValueError or ArrowException where the type cannot hold it."""
    if pa.types.is_integer(kind):
        return int(label)
    if pa.types.is_floating(kind):
        return float(label)
    # pa.array fills the dictionary itself; pyarrow cannot cast text to one
    if pa.types.is_dictionary(kind):
        return label
    return pa.scalar(label, pa.string()).cast(kind).as_py()
