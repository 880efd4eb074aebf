"""Texts that stand beside pictures: titles, descriptions, tags of a table's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelsieve.data.sources._formats import named, open_table, schema_of
from labelsieve.data.sources._keys import RowKeys
from labelsieve.data.sources.table import TableSource
from labelsieve.errors import DataError, OptionError, unknown

if TYPE_CHECKING:
    import pyarrow as pa

    from labelsieve.data.sources import Source


def side_texts(source: Source, column: str, ids: pa.Array) -> tuple[str, ...]:
    """The text beside each picture, "" where it has none.

    Args:
        column: of a table.
        ids: [n] sample ids of pictures of the source.

    Raises:
        OptionError: the data are no single table.
        DataError: there is no such column, or it holds something else than texts.
    """
    if not isinstance(source, TableSource):
        raise OptionError(
            "--side-text-column names a column of a table, and these data are none.",
            "Write pictures, labels and texts into one CSV or Parquet file.",
        )
    names = schema_of(source.path).names
    if column not in names:
        raise DataError(unknown(f"'{source.path}': column", column, names))
    texts = _by_key(source, column)
    # what stands before "#" is the key of a row
    return tuple(texts.get(i.rpartition("#")[0], "") for i in ids.to_pylist())


def _by_key(source: TableSource, column: str) -> dict[str, str]:
    keys = RowKeys(source.columns.id)
    wanted = list(dict.fromkeys([*source.columns.read(), column]))
    texts: dict[str, str] = {}
    number = 0
    with named(source.path, lambda: f"The fault is after row {number}."):
        for part in open_table(source.path, wanted).parts:
            for record in part:
                # keys are counted over all rows, as when the pictures were read
                key = source.row(number, record, keys).key
                texts[key] = _text(source, number, record[column])
                number += 1
    return texts


def _text(source: TableSource, number: int, value: Any) -> str:
    if value is None:
        return ""
    # tags are often a list
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    if not isinstance(value, str):
        raise DataError(
            f"'{source.path}': row {number} has no text in the column of side texts, but "
            f"{type(value).__name__}.",
            "Name a column of texts, or of lists of texts.",
        )
    return value.strip()
