"""A table: CSV, TSV, JSONL or Parquet, with a column of image paths or (Parquet) of encoded images.

Paths are relative to --root, or to the table's folder. Parquet written by Hugging Face datasets
(images as {bytes, path}, labels as ClassLabel numbers) is understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from labelsieve.data.sources import Row, RowKeys, _jsonl, check_one_value, label_text
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, LabelsieveError, unknown
from labelsieve.files import path_to_uri, readable, uri_to_path
from labelsieve.progress import plain

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
# Columns as people and tools name them, the likeliest first.
IMAGE_NAMES = (
    *("image", "img", "image_path", "path", "file", "file_name", "filename"),
    *("filepath", "file_path", "images"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "class_name", "category", "target", "given_label"),
)
# The uri of an image that the table itself holds. A file may be called "row:1.png".
ROW = re.compile(r"row:([0-9]+)")
AT_ONCE = 128  # rows of a Parquet file in memory at a time: each may hold a large photo


def accepts(spec: DataSpec) -> bool:
    """Can this storage read it?"""
    path = spec.path()
    return path is not None and path.suffix.lower() in SUFFIXES and path.is_file()


def open_source(spec: DataSpec) -> TableSource:
    """Open it; raises DataError with what to do."""
    path = Path(spec.data)
    schema = _schema(path)
    columns = schema.names
    image = _pick(spec.image_column, "--image-column", IMAGE_NAMES, columns, path)
    label = None
    if spec.labelled or spec.label_column:
        label = _pick(spec.label_column, "--label-column", LABEL_NAMES, columns, path)
    others = {"--truth-column": spec.truth_column, "--id-column": spec.id_column}
    _check_there(path, columns, others)
    split = _split_column(spec, columns, path)
    _check_types(path, schema, image, {"--label-column": label, **others})
    own = (image, label, spec.truth_column, spec.id_column)
    return TableSource(path, _root(spec, path), *own, spec.split, split)


def _check_there(path: Path, columns: list[str], wanted: dict[str, str | None]) -> None:
    """Raises DataError when a column that the user named, by option, is not in the table."""
    for flag, name in wanted.items():
        if name is not None and name not in columns:
            problem = unknown("Column", name, columns)
            raise DataError(f"{flag}: {problem}", f"Table: '{path}'.")


def _split_column(spec: DataSpec, columns: list[str], path: Path) -> str | None:
    """The column of splits, where there is one."""
    if "split" in columns:
        return "split"
    if spec.split is not None:
        raise DataError(
            f"--split needs a column 'split'; '{path}' has none.",
            f"There are: {', '.join(columns)}.",
        )
    return None


def _root(spec: DataSpec, path: Path) -> Path:
    """The folder that image paths are relative to."""
    root = Path(spec.root) if spec.root else path.parent
    if not root.is_dir():
        raise DataError(
            f"--root '{root}' is not a folder.",
            "Name the folder that the image paths are relative to.",
        )
    return root


def _check_types(
    path: Path, schema: pa.Schema, image: str, single: dict[str, str | None]
) -> None:
    for flag, name in {"--image-column": image, **single}.items():
        if name is not None and schema.names.count(name) > 1:
            raise DataError(
                f"'{path}' has {schema.names.count(name)} columns named '{name}'.",
                "Rename all but one.",
            )
        if name is not None and name != image:
            check_one_value(schema.field(name).type, flag, name)
    _check_image_type(path, image, schema.field(image).type)


def _check_image_type(path: Path, image: str, kind: pa.DataType) -> None:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    # a CSV file has no types: file names that look like numbers are read as text
    typed = SUFFIXES[path.suffix.lower()] in ("parquet", "jsonl")
    useless = typed and (is_number or pa.types.is_boolean(kind))
    if pa.types.is_list(kind) or useless:
        raise DataError(
            f"--image-column '{image}' of '{path}' holds {kind}.",
            "Paths or encoded images (bytes) are needed.",
        )


def _schema(path: Path) -> pa.Schema:
    with _named(path):
        schema = _open(path).schema
        for name in schema.names:  # fails here where a name is no text
            name.encode("utf-8")
        return schema


@contextmanager
def _named(path: Path, where: Callable[[], str] | None = None) -> Iterator[None]:
    """Whatever a reader raises is named with the file, in one line.

    Files of strangers end in many kinds of errors: Arrow's own, ValueError of values that
    Python cannot hold, MemoryError of sizes that are made up.
    """
    try:
        yield
    except LabelsieveError:
        raise
    except Exception as error:
        kind = SUFFIXES[path.suffix.lower()].upper()
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"'{path}' cannot be read as {kind}: {plain(lines[0].rstrip('.'))}.",
            where() if where else "Check the file.",
        ) from error


def _pick(
    wanted: str | None,
    flag: str,
    usual: tuple[str, ...],
    columns: list[str],
    path: Path,
) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise DataError(
                f"{flag}: {unknown('Column', wanted, columns)}", f"Table: '{path}'."
            )
        return wanted
    # "Image" and "IMAGE" are as usual as "image"
    lower = {c.lower(): c for c in columns}
    for name in usual:
        if name in lower:
            return lower[name]
    raise DataError(
        f"'{path}' has no column with a usual name for {flag}.",
        f"Name one of: {', '.join(columns)}.",
    )


@dataclass
class _Opened:
    schema: pa.Schema
    parts: Iterator[list[dict[str, Any]]]  # records, a few at a time


def _open(path: Path, columns: Sequence[str] = ()) -> _Opened:
    """A table as a stream of records with these columns."""
    kind = SUFFIXES[path.suffix.lower()]
    if kind == "parquet":
        # pre_buffer would keep all that was read until the end, and without a buffer a row
        # group is read whole
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        batches = file.iter_batches(batch_size=AT_ONCE, columns=list(columns))
        return _Opened(file.schema_arrow, _records(batches, columns))
    if kind == "jsonl":
        schema = pa.schema([]) if columns else _jsonl.schema(path)
        return _Opened(schema, _jsonl.parts(path, columns))
    reader = pacsv.open_csv(
        path,
        # only without threads do errors name the row
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(
            # a quoted cell may go over several lines
            delimiter="\t" if kind == "tsv" else ",",
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
    return _Opened(reader.schema, _records(reader, columns))


def _records(
    batches: Iterable[pa.RecordBatch], columns: Sequence[str]
) -> Iterator[list[dict[str, Any]]]:
    for batch in batches:
        yield batch.select(list(columns)).to_pylist()


@dataclass
class TableSource:
    """Rows of one table file."""

    path: Path
    root: Path
    image_column: str
    label_column: str | None
    truth_column: str | None
    id_column: str | None
    split: str | None
    split_column: str | None
    notes: list[str] = field(default_factory=list)
    _group: tuple[int, Any] = (-1, None)  # the row group that was read last

    @property
    def classes(self) -> list[str]:
        """As a ClassLabel column declares them, in its order."""
        if self.label_column is None:
            return []
        return class_names(_schema(self.path), self.label_column) or []

    def rows(self) -> Iterator[Row]:
        """Rows in the order of the file."""
        wanted = [
            self.image_column,
            self.label_column,
            self.truth_column,
            self.id_column,
            self.split_column,
        ]
        # two roles may share a column, which is read once
        columns = list(dict.fromkeys(c for c in wanted if c))
        number, seen = 0, 0
        keys = RowKeys(self.id_column)
        # a lambda, as the number is known only when something fails
        with _named(self.path, lambda: f"The fault is after row {number}."):
            opened = _open(self.path, columns)
            names = {c: class_names(opened.schema, c) for c in columns}
            for part in opened.parts:
                for record in part:
                    row = self._row(number, record, names, keys)
                    number += 1
                    if self.split is None or row.split == self.split:
                        seen += 1
                        yield row
        if number and not seen:
            raise DataError(
                f"--split '{self.split}' matches no row of '{self.path}'.",
                "Check the column 'split'.",
            )

    def read(self, uri: str) -> Any:
        embedded = ROW.fullmatch(uri)
        if not embedded:
            return self.root / uri_to_path(uri)
        with _named(self.path):
            return self._read_row(int(embedded[1]))

    def _read_row(self, number: int) -> Any:
        file = pq.ParquetFile(self.path)
        first = 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if number < first + size:
                return _image(self._cells(file, group)[number - first].as_py())[0]
            first += size
        raise DataError(
            f"'{self.path}' has no row {number}.",
            "Was the table changed after the scan?",
        )

    def _cells(self, file: pq.ParquetFile, group: int) -> Any:
        """The image column of a row group, kept, as neighbours are often wanted together."""
        kept = self._group  # one name, as several threads read
        if kept[0] != group:
            part = file.read_row_group(group, columns=[self.image_column])
            kept = self._group = (group, part[self.image_column])
        return kept[1]

    def _row(
        self,
        number: int,
        record: dict[str, Any],
        names: dict[str, list[str] | None],
        keys: RowKeys,
    ) -> Row:
        data, path = _image(record[self.image_column])
        name = f"row {number}"
        image: Any = data
        if data is not None:
            uri, shown = f"row:{number}", path or name
        elif path:
            uri, shown = _uri_of_file(path), readable(path)
            image = self.root / path
        else:
            uri, shown = "", name
            image = b""
        return Row(
            key=keys.take(
                _cell(record, self.id_column, names),
                image if isinstance(image, bytes) else uri,
                name,
            ),
            uri=uri,
            path=shown,
            label=_cell(record, self.label_column, names),
            truth=_cell(record, self.truth_column, names),
            split=_cell(record, self.split_column, names),
            image=image,
        )


def _uri_of_file(path: str) -> str:
    uri = path_to_uri(path)
    # a file with the very name of a row is named by another way to it
    return f"./{uri}" if ROW.fullmatch(uri) else uri


def _cell(
    record: dict[str, Any], column: str | None, names: dict[str, list[str] | None]
) -> str | None:
    if column is None:
        return None
    return label_text(record[column], names[column])


def _image(value: Any) -> tuple[bytes | None, str | None]:
    """(encoded image, path) of an image cell; either may be missing."""
    data, path = value, value
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data), None if data is path else label_text(path)
    return None, None if path is None else str(path)


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Names of a ClassLabel column, from what Hugging Face datasets leaves in Parquet."""
    try:
        stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = stored["info"]["features"][column]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None  # none, or of another tool
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        return None
    return names or None
