"""The same table with other labels: only the cells that change, where the format allows it.

CSV, TSV and JSONL keep every other line as it is, to the byte. Parquet keeps columns, types, metadata, row groups and
compression.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelsieve.data.images import content_hash
from labelsieve.data.sources import Row, Source
from labelsieve.data.sources.table import SUFFIXES, TableSource, _class_names
from labelsieve.errors import DataError

Changes = dict[int, str | None]  # row number -> new label, None: leave the row out


def find_rows(source: Source, corrections: Iterable[Mapping[str, Any]]) -> Changes:
    """Row numbers of corrections (rows of `labelsieve.tables.CORRECTIONS`), found by id, or by where the image is, and what it was.

    Raises:
        DataError: a row is gone, or has another label or another image than it had.
    """
    waiting = {str(c["sample_id"]): c for c in corrections}
    found: Changes = {}
    for by in (
        _key,
        _place,
    ):  # a row is known by its key; in another copy of the data, without ids, by its place
        groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for correction in waiting.values():
            groups[by(correction)].append(correction)
        for number, row in enumerate(whole(source).rows() if groups else ()):
            alike = groups.get(row.key if by is _key else row.uri, [])
            fitting = next(
                (
                    c
                    for c in alike
                    if c["old_label"] == row.label and _same_image(row, c["sample_id"])
                ),
                None,
            )
            if fitting is not None and number not in found:
                alike.remove(fitting)
                found[number] = waiting.pop(fitting["sample_id"])["new_label"]
    for lacking in waiting.values():
        raise DataError(
            f"The data have no '{lacking['path']}' with the label '{lacking['old_label']}' and the image that was scanned.",
            "Were they changed since the scan?",
        )
    return found


def whole(source: Any) -> Any:
    """A table with the rows of every split."""
    return replace(source, split=None) if isinstance(source, TableSource) else source


def _key(correction: Mapping[str, Any]) -> str:
    return str(correction["sample_id"]).rpartition("#")[0]


def _place(correction: Mapping[str, Any]) -> str:
    return str(correction["uri"])


def _same_image(row: Row, sample_id: str) -> bool:
    """Whether an embedded image is the one of a sample id; files are not opened for this."""
    return not isinstance(row.image, bytes) or content_hash(row.image)[
        :12
    ] == digest_of(sample_id)


def digest_of(sample_id: str) -> str:
    """The part of a sample id that tells the content."""
    return sample_id.rpartition("#")[2][:12]


def rewrite(source: TableSource, changes: Changes, target: Path) -> None:
    """Write the table with changed labels to `target`, and to the disk.

    Raises:
        DataError: a label that the column's type cannot hold.
    """
    kind = SUFFIXES[source.path.suffix.lower()]
    if kind == "parquet":
        _parquet(source, changes, target)
    else:
        text = source.path.read_bytes().decode("utf-8", "surrogateescape")
        made = (
            _json_lines(text, source, changes)
            if kind == "jsonl"
            else _csv(text, source, changes, "\t" if kind == "tsv" else ",")
        )
        target.write_bytes("".join(made).encode("utf-8", "surrogateescape"))
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _label_column(source: TableSource) -> str:
    if source.label_column is None:
        raise DataError(
            f"'{source.path}' has no label column.", "Name it with --label-column."
        )
    return source.label_column


def _lines(text: str) -> list[str]:
    """Physical lines with their endings; only line feed and carriage return end a line."""
    return list(io.StringIO(text, newline=""))


def _csv(text: str, source: TableSource, changes: Changes, delimiter: str) -> list[str]:
    lines = _lines(text)
    csv.field_size_limit(
        max(csv.field_size_limit(), len(text))
    )  # or a long cell is an error
    reader = csv.reader(lines, delimiter=delimiter)
    header = next(reader)
    names = [name.removeprefix("\ufeff") for name in header]
    column = names.index(_label_column(source))
    made = lines[: reader.line_num]
    number, start = 0, reader.line_num
    for record in reader:
        text_of = lines[start : reader.line_num]
        start = reader.line_num
        if not record:  # an empty line is no row
            made += text_of
            continue
        if number not in changes:
            made += text_of
        elif changes[number] is not None:
            ending = text_of[-1][len(text_of[-1].rstrip("\r\n")) :]
            record[column] = str(changes[number])
            out = io.StringIO(newline="")
            csv.writer(out, delimiter=delimiter, lineterminator=ending).writerow(record)
            made.append(out.getvalue())
        number += 1
    return made


def _json_lines(text: str, source: TableSource, changes: Changes) -> list[str]:
    made, column = [], _label_column(source)
    number = 0
    for line in _lines(text):
        if not line.strip():
            made.append(line)
            continue
        if number not in changes:
            made.append(line)
        elif changes[number] is not None:
            record = json.loads(line)
            record[column] = _json_label(str(changes[number]), record[column])
            made.append(
                json.dumps(record, ensure_ascii=False)
                + line[len(line.rstrip("\r\n")) :]
            )
        number += 1
    return made


def _json_label(new: str, old: Any) -> Any:
    """A label as JSON holds the old one: a truth value, a number, text."""
    try:
        if isinstance(old, bool):
            return {"True": True, "False": False}[new]
        return type(old)(new) if isinstance(old, int | float) else new
    except (ValueError, KeyError) as error:
        raise DataError(
            f"'{new}' cannot stand where '{old}' stands in the label column.",
            "Choose another label.",
        ) from error


def _parquet(source: TableSource, changes: Changes, target: Path) -> None:
    file = pq.ParquetFile(source.path)
    schema = file.schema_arrow
    column = _label_column(source)
    names = _class_names(schema, column)
    about = file.metadata
    packed = _compression(about)
    start = 0
    with pq.ParquetWriter(target, schema, compression=packed) as writer:
        for group in range(about.num_row_groups):
            part = file.read_row_group(group)
            rows = [r for r in range(start, start + len(part)) if r in changes]
            if rows:
                part = _relabel(
                    part, column, {r - start: changes[r] for r in rows}, names
                )
            start += about.row_group(group).num_rows
            writer.write_table(part, row_group_size=max(1, len(part)))


def _compression(about: pq.FileMetaData) -> dict[str, str] | str:
    """How each column is packed, by its path; images are often left as they are while text is compressed."""
    if not about.num_row_groups:
        return "SNAPPY"
    group = about.row_group(0)
    columns = (group.column(c) for c in range(group.num_columns))
    return {
        c.path_in_schema: c.compression.replace("UNCOMPRESSED", "NONE") for c in columns
    }


def _relabel(
    part: pa.Table, column: str, changes: Changes, names: list[str] | None
) -> pa.Table:
    part, kept = relabelled(part, column, changes, names)
    return part if len(kept) == len(part) else part.take(kept)


def relabelled(
    table: pa.Table, column: str, changes: Changes, names: list[str] | None
) -> tuple[pa.Table, list[int]]:
    """The table with other labels, and the rows that stay in it: those that are not to get the label None."""
    place, kind = table.column_names.index(column), table.schema.field(column)
    values = table[column].to_pylist()
    for row, label in changes.items():
        if label is not None:
            values[row] = _typed(label, kind.type, names)
    kept = [row for row in range(len(table)) if changes.get(row, "") is not None]
    return table.set_column(place, kind, pa.array(values, kind.type)), kept


def _typed(label: str, kind: pa.DataType, names: list[str] | None) -> Any:
    """A label as the column holds it: the number of a class, a number, text."""
    if names is not None and pa.types.is_integer(kind):
        if label not in names:
            raise DataError(
                f"'{label}' is not among the class names that the table declares.",
                "Choose one of those.",
            )
        return names.index(label)
    try:
        return (
            int(label)
            if pa.types.is_integer(kind)
            else float(label)
            if pa.types.is_floating(kind)
            else _cast(label, kind)
        )
    except (ValueError, pa.ArrowException) as error:
        raise DataError(
            f"'{label}' cannot stand in a label column of type {kind}.",
            "Choose another label.",
        ) from error


def _cast(label: str, kind: pa.DataType) -> Any:
    return (
        label
        if pa.types.is_dictionary(kind)
        else pa.scalar(label, pa.string()).cast(kind).as_py()
    )
