"""The table that planted errors are written to, as Parquet or CSV.

Columns: `id, image` (of texts `text`), `given_label, true_label, split`. Parquet keeps how it was
made in its metadata, pictures that the data hold as bytes, and sets of labels as lists; in CSV a
set is one text. Paths are relative to the table.
"""

from __future__ import annotations

import io
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from PIL import Image

from labelsieve.data.images import from_object, read_bytes
from labelsieve.data.labels import SET, read_set
from labelsieve.data.manifest import kind_of
from labelsieve.data.sources import Row, Source
from labelsieve.data.text import reading
from labelsieve.errors import DataError, ImageError, OptionError
from labelsieve.files import replacing
from labelsieve.tables import refuse_other

TEXTS = "texts"
SEPARATOR = "|"  # between the labels of a set in CSV
BATCH = 1_000  # rows written at once: bounds the pictures that are in memory


def check_target(target: Path) -> None:
    """Raises OptionError when the table has no suffix that says its format."""
    if target.suffix not in (".parquet", ".csv"):
        raise OptionError(f"-o '{target}' must end in .parquet or .csv.")


def write_table(
    target: Path,
    source: Source,
    given: list[str | None],
    truth: list[str | None],
    record: dict[str, Any],
) -> None:
    """Write the rows of a source with given and true labels.

    The source is read again, row by row, so that pictures need not fit into memory.

    Args:
        given, truth: labels of all rows, in the order of the source.
        record: how the labels were made, for the metadata.

    Raises:
        OptionError: another file lies there.
        DataError: pictures or sets that a CSV file cannot hold.
    """
    layout = _Layout.of(source, target)
    schema = layout.schema(record)
    refuse_other(target, schema.names)
    parquet = target.suffix == ".parquet"
    # the table appears when it is whole: a run killed here leaves the old one
    with replacing(target) as scratch:
        writer = pq.ParquetWriter if parquet else pacsv.CSVWriter
        checked = {"write_page_checksum": True} if parquet else {}
        with writer(scratch, schema, **checked) as table:
            for part in _parts(source, given, truth, layout):
                # with the schema: a column of nothing but None would have the type null
                table.write_batch(pa.RecordBatch.from_pylist(part, schema))


def scan_command(
    target: Path, source: Source, label_separator: str | None = None
) -> str:
    """The command that scans a table that `write_table` wrote, as a person types it.

    Args:
        label_separator: what the data were read with.
    """
    layout = _Layout.of(source, target)
    words = ["labelsieve", "scan", str(target), "--truth-column", "true_label"]
    if layout.texts:
        words += ["--text-column", layout.item]
    # Parquet says by its types which labels are sets; in CSV a name may look like one
    separator = SEPARATOR if layout.sets else label_separator
    if separator is not None and not layout.in_parquet:
        words += ["--label-separator", separator]
    return shlex.join(words)


@dataclass(frozen=True)
class _Layout:
    """What the columns are, and what stands in them."""

    target: Path
    texts: bool
    sets: bool

    @staticmethod
    def of(source: Source, target: Path) -> _Layout:
        modality = getattr(source, "modality", "images")
        return _Layout(target, modality == TEXTS, kind_of(source) == SET)

    @property
    def item(self) -> str:
        return "text" if self.texts else "image"

    @property
    def in_parquet(self) -> bool:
        return self.target.suffix == ".parquet"

    def schema(self, record: dict[str, Any]) -> pa.Schema:
        text = pa.string()
        image, label = text, text
        if self.in_parquet and not self.texts:
            # what `datasets.Image` stores, so that Hugging Face shows pictures
            image = pa.struct([("bytes", pa.binary()), ("path", text)])
        if self.in_parquet and self.sets:
            label = pa.list_(text)
        fields = [
            ("id", text),
            (self.item, image),
            ("given_label", label),
            ("true_label", label),
            ("split", text),
        ]
        return pa.schema(fields, {b"labelsieve": json.dumps(record).encode()})

    def cell(self, row: Row) -> Any:
        return _text(row.image) if self.texts else _cell(row, self.target)

    def label(self, text: str | None) -> Any:
        """A label as its column has it."""
        if not self.sets or (text is None and self.in_parquet):
            return text
        return read_set(str(text)) if self.in_parquet else _joined(text)


def _joined(text: str | None) -> str:
    """A set as one text; an empty cell is read as the empty set."""
    names = [] if text is None else read_set(text)
    strange = [name for name in names if SEPARATOR in name]
    if text is None or strange:
        what = f"'{strange[0]}' holds a {SEPARATOR}" if strange else "A row has no set"
        raise DataError(
            f"{what}, which a CSV table cannot say.",
            "Write -o FILE.parquet; it holds lists.",
        )
    return SEPARATOR.join(names)


def _parts(
    source: Source,
    given: list[str | None],
    truth: list[str | None],
    layout: _Layout,
) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    for number, row in enumerate(source.rows()):
        values = {
            "id": row.key,
            layout.item: layout.cell(row),
            "given_label": layout.label(given[number]),
            "true_label": layout.label(truth[number]),
            "split": row.split,
        }
        part.append(values)
        if len(part) == BATCH:
            yield part
            part = []
    yield part


def _text(item: Any) -> str:
    try:
        text = reading.decode(reading.read_bytes(item))
    except ImageError:
        return ""  # unreadable here, unreadable there: the row stays
    # half of a surrogate pair has no bytes in UTF-8
    return text.encode("utf-8", "replace").decode()


def _cell(row: Row, target: Path) -> Any:
    """The image of a row as the table holds it: a relative path where it is a file, else bytes."""
    item = row.image
    in_parquet = target.suffix == ".parquet"
    if isinstance(item, str | Path):
        # relative, so that table and pictures can move together
        path = os.path.relpath(item, target.parent)
        # tables hold no names that are not UTF-8; the bytes of such a file go in
        if path.encode("utf-8", "replace").decode() == path:
            return {"bytes": None, "path": path} if in_parquet else path
    if not in_parquet:
        raise DataError(
            f"'{row.path}' is not a file that a CSV table can name.",
            "Write -o FILE.parquet; it holds pictures.",
        )
    return {"bytes": _bytes_of(item), "path": None}


def _bytes_of(item: Any) -> bytes:
    try:
        if isinstance(item, bytes | str | Path):
            return read_bytes(item)
        return _png(from_object(item))
    except ImageError:
        return b""  # unreadable here, unreadable there: the row stays


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # without loss: JPEG would change the pixels that are compared
    picture.save(buffer, "PNG")
    return buffer.getvalue()
