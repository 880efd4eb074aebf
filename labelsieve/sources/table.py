"""A table: CSV, TSV, JSONL or Parquet, with a column of image paths or (Parquet) of encoded images.

Paths are relative to --root, or to the table's folder. Parquet written by Hugging Face datasets (images as
{bytes, path}, labels as ClassLabel numbers) is understood.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from labelsieve.errors import DataError, unknown
from labelsieve.sources import DataSpec, Row
from labelsieve.tables import path_to_uri, readable, uri_to_path

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
IMAGE_NAMES = ("image", "img", "image_path", "path", "file", "file_name", "filename", "filepath", "file_path", "images")
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target", "given_label")


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and path.suffix.lower() in SUFFIXES and path.is_file()


def open_source(spec: DataSpec) -> TableSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    columns = _columns(path)
    image = _pick(spec.image_column, "--image-column", IMAGE_NAMES, columns, path)
    label = _pick(spec.label_column, "--label-column", LABEL_NAMES, columns, path)
    for flag, name in (("--truth-column", spec.truth_column), ("--id-column", spec.id_column)):
        if name is not None and name not in columns:
            raise DataError(f"{flag}: {unknown('Column', name, columns)}", f"Table: '{path}'.")
    root = Path(spec.root) if spec.root else path.parent
    if not root.is_dir():
        raise DataError(f"--root '{root}' is not a folder.", "Name the folder that the image paths are relative to.")
    return TableSource(
        path, root, image, label, spec.truth_column, spec.id_column, spec.split, "split" if "split" in columns else None
    )


def _columns(path: Path) -> list[str]:
    try:
        return list(_open(path).schema.names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"'{path}' cannot be read as {SUFFIXES[path.suffix.lower()].upper()}: {_first_line(error)}.",
            "Check the file.",
        ) from error


def _pick(wanted: str | None, flag: str, usual: tuple[str, ...], columns: list[str], path: Path) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise DataError(f"{flag}: {unknown('Column', wanted, columns)}", f"Table: '{path}'.")
        return wanted
    lower = {c.lower(): c for c in columns}
    for name in usual:
        if name in lower:
            return lower[name]
    raise DataError(f"'{path}' has no column with a usual name for {flag}.", f"Name one of: {', '.join(columns)}.")


@dataclass
class _Batches:
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def _open(path: Path, columns: list[str] | None = None, as_text: tuple[str, ...] = ()) -> _Batches:
    """A table as a stream of record batches; `as_text` columns are not guessed to be numbers (labels like 007)."""
    kind = SUFFIXES[path.suffix.lower()]
    if kind == "parquet":
        file = pq.ParquetFile(path)
        return _Batches(file.schema_arrow, file.iter_batches(batch_size=1024, columns=columns))
    if kind == "jsonl":
        table = pajson.read_json(path)
        return _Batches(table.schema, iter(table.to_batches(max_chunksize=4096)))
    reader = pacsv.open_csv(
        path,
        parse_options=pacsv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(as_text, pa.string()), include_columns=columns or [], strings_can_be_null=True
        ),
    )
    return _Batches(reader.schema, iter(reader))


@dataclass
class TableSource:
    """Rows of one table file."""

    path: Path
    root: Path
    image_column: str
    label_column: str
    truth_column: str | None
    id_column: str | None
    split: str | None
    split_column: str | None
    notes: list[str] = field(default_factory=list)
    _met: Counter[int] = field(default_factory=Counter)  # how often each path was listed

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the file."""
        wanted = [self.image_column, self.label_column, self.truth_column, self.id_column, self.split_column]
        columns = list(dict.fromkeys(c for c in wanted if c))
        text = tuple(c for c in columns if c != self.image_column or SUFFIXES[self.path.suffix.lower()] != "parquet")
        number, seen = 0, 0
        self._met.clear()
        try:
            stream = _open(self.path, columns, text)
            names = {c: _class_names(stream.schema, c) for c in columns}
            for batch in stream.batches:
                for record in batch.select(columns).to_pylist():
                    row = self._row(number, record, names)
                    number += 1
                    if self.split is None or row.split == self.split:
                        seen += 1
                        yield row
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"'{self.path}' cannot be read: {_first_line(error)}.", f"The fault is after row {number}."
            ) from error
        if number and not seen:
            raise DataError(f"--split '{self.split}' matches no row of '{self.path}'.", "Check the column 'split'.")

    def read(self, uri: str) -> Any:
        if not uri.startswith("row:"):
            return self.root / uri_to_path(uri)
        number = int(uri[4:])
        file = pq.ParquetFile(self.path)
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if number < size:
                return _image(
                    file.read_row_group(group, columns=[self.image_column])[self.image_column][number].as_py()
                )[0]
            number -= size
        raise DataError(f"'{self.path}' has no row {uri[4:]}.", "Was the table changed after the scan?")

    def _row(self, number: int, record: dict[str, Any], names: dict[str, list[str] | None]) -> Row:
        value, path = _image(record[self.image_column])
        identity = _cell(record, self.id_column, names)
        if isinstance(value, bytes):
            uri, shown = f"row:{number}", path or f"row {number}"
        else:
            uri, shown = (path_to_uri(path), readable(path)) if path else ("", f"row {number}")
            value = self.root / path if path else b""
        if identity is None:
            identity = self._once_more(uri) if uri and not uri.startswith("row:") else f"row{number}"
        return Row(
            key=identity,
            uri=uri,
            path=shown,
            label=_cell(record, self.label_column, names),
            truth=_cell(record, self.truth_column, names),
            split=_cell(record, self.split_column, names),
            image=value,
        )

    def _once_more(self, uri: str) -> str:
        """The path as key; its second row gets "@2", the third "@3"."""
        self._met[hash(uri)] += 1
        count = self._met[hash(uri)]
        return uri if count == 1 else f"{uri}@{count}"


def _cell(record: dict[str, Any], column: str | None, names: dict[str, list[str] | None]) -> str | None:
    return None if column is None else _text(record[column], names[column])


def _image(value: Any) -> tuple[Any, str | None]:
    """(bytes or None, path or None) of an image cell."""
    if isinstance(value, dict):
        return value.get("bytes"), value.get("path")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), None
    return None, None if value is None else str(value)


def _text(value: Any, names: list[str] | None) -> str | None:
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if value is None or value == "":
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names of a ClassLabel column, from the metadata that Hugging Face datasets leaves in Parquet."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except ValueError:
        return None
    names = features.get(column, {}).get("names") if isinstance(features.get(column), dict) else None
    return list(names) if names else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
