"""The tables that stages hand to each other: their columns, and one row per image.

All are joined by `sample_id`; nothing is ever matched by position.
"""

from __future__ import annotations

import contextlib
import csv
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.files import readable, refuse_endless, replacing

SampleId: TypeAlias = str

AGAIN = "Delete it and run the command again."
LONGEST_HEADER = 1 << 16  # characters of the first line of a CSV that are looked at

# What is known about a row before any method ran.
OK = "ok"
CORRUPT = "corrupt"
UNLABELLED = "unlabelled"
CONFLICT = "duplicate-conflict"
# Of scores alone: a method holds that the picture belongs to no class.
OUTSIDER = "outsider"
SCORED = (OK, CONFLICT)

# What a picture may show of itself that a person wants to know of.
FINDINGS = (
    *("dark", "washed_out", "blurred", "plain", "odd_size", "odd_shape", "outlier"),
)

MANIFEST = pa.schema(
    [
        ("sample_id", pa.string()),
        ("uri", pa.string()),  # where its source finds it again
        ("path", pa.string()),  # what a person reads
        ("given_label", pa.string()),
        ("split", pa.string()),
        ("content_hash", pa.string()),
        ("slot", pa.int64()),  # its row in the pixel cache, -1 without pixels
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
TRUTH = pa.schema([("sample_id", pa.string()), ("true_label", pa.string())])
SCORES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("path", pa.string()),
        ("given_label", pa.string()),
        # probability that the given label is right; null where nothing could be said
        ("p_clean", pa.float64()),
        ("is_label_issue", pa.bool_()),
        ("suggested_label", pa.string()),
        ("suggested_prob", pa.float64()),
        # probability of the given label minus that of the best other one, in [-1, 1]
        ("margin", pa.float64()),
        ("rank", pa.int64()),  # 1 = most suspicious
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)

# What pictures show of themselves (labelsieve.features.quality), one row per scored image.
QUALITY = pa.schema(
    [
        ("sample_id", pa.string()),
        (
            "width",
            pa.float32(),
        ),  # pixels of the file; null where it cannot be read again
        ("height", pa.float32()),
        ("bright", pa.float32()),  # 99th percentile of luminance, 0..1
        ("floor", pa.float32()),  # 5th percentile
        ("blur", pa.float32()),  # 0 sharp .. 1 blurred
        ("entropy", pa.float32()),  # of the grays, 0..1
        ("isolation", pa.float32()),  # 1 - mean cosine to the nearest other images
        *((name, pa.bool_()) for name in FINDINGS),
    ]
)
# Pairs of near-duplicates (labelsieve.features.copies.duplicates); of a crop the other is the part.
DUPLICATES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("other_id", pa.string()),
        ("kind", pa.string()),  # copy, mirrored or crop
        ("similarity", pa.float32()),  # correlation of their pixels, 0..1
        ("group", pa.int64()),  # the same for all pairs that hang together
        ("other_label", pa.bool_()),  # their given labels differ
    ]
)

DECISIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("verdict", pa.string()),  # of labelsieve.runs.decisions.VERDICTS
        ("label", pa.string()),  # the right label, where it is known
        ("by", pa.string()),
        ("at", pa.string()),  # ISO 8601, UTC
    ]
)
CORRECTIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("uri", pa.string()),  # where the image was before
        ("path", pa.string()),
        ("action", pa.string()),  # relabel or drop
        ("old_label", pa.string()),
        ("new_label", pa.string()),  # null where dropped
        ("reason", pa.string()),
        # where it is afterwards, for folders; null until applied
        ("new_uri", pa.string()),
    ]
)

SAMPLES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("given_label", pa.string()),
        ("label", pa.string()),  # what is trained on
        ("weight", pa.float64()),  # how much it counts in training
        ("origin", pa.string()),  # of labelsieve.classifiers.training_set.ORIGINS
        ("part", pa.string()),  # train, validation, or none
    ]
)


def make_sample_id(key: str, content_hash: str) -> SampleId:
    """An id of the user's key and the first twelve hex digits of the content's hash.

    Args:
        key: the user's id, a relative path, or the content.
    """
    return f"{key}#{content_hash[:12]}"


def check_unique(table: pa.Table) -> None:
    """Raises:
    DataError: two rows have the same sample_id.
    """
    ids = table["sample_id"]
    if len(pc.unique(ids)) == len(ids):
        return
    counts = pc.value_counts(ids)
    twice = next(c["values"].as_py() for c in counts if c["counts"].as_py() > 1)
    raise DataError(
        f"sample_id '{twice}' appears twice.",
        "Give the table a column of unique ids with --id-column.",
    )


def check_same_ids(table: pa.Table, manifest: pa.Table) -> None:
    """Every id of the manifest exactly once in `table`, and no other: anything else is a bug."""
    if not _sorted_ids(table).equals(_sorted_ids(manifest)):
        raise AssertionError("scores and manifest do not hold the same sample ids")


def _sorted_ids(table: pa.Table) -> pa.ChunkedArray:
    ids = table["sample_id"]
    return pc.take(ids, pc.sort_indices(ids))


# ids that are searched for one by one, a hundredth of a second each among a million; for more of
# them sorting pays
UNSORTED = 24


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array: single values of many chunks are slow to find."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def order_of(ids: pa.Array) -> np.ndarray:
    """[n] int64 rows in the order of their ids."""
    # UTF-8 sorts its bytes as Python sorts its characters, so both agree on the order
    return pc.sort_indices(ids).to_numpy().astype(np.int64)


class RowsOf(Mapping[SampleId, int]):
    """Rows by sample id: 8 MB for a million ids, where a dictionary takes 150 MB.

    Args:
        ids: [n] unique sample ids, in the order of the rows.
        order: [n] rows in the order of their ids, where somebody kept it; else they are sorted
            once many were asked for.
    """

    def __init__(
        self, ids: pa.Array | pa.ChunkedArray, order: np.ndarray | None = None
    ) -> None:
        self._ids = one_chunk(ids)
        self._looked = 0
        if order is not None:
            self._order = order

    @cached_property
    def _order(self) -> np.ndarray:
        return order_of(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[SampleId]:
        for sample_id in self._ids:
            yield sample_id.as_py()

    def __getitem__(self, sample_id: SampleId) -> int:
        # who asks for a few of a million ids does not wait until all are sorted
        if "_order" not in self.__dict__ and self._looked < UNSORTED:
            self._looked += 1
            return self._searched(sample_id)
        position = bisect_left(range(len(self)), sample_id, key=self._sorted)
        if position == len(self) or self._sorted(position) != sample_id:
            raise KeyError(sample_id)
        return int(self._order[position])

    def _searched(self, sample_id: SampleId) -> int:
        try:
            row = pc.index(self._ids, pa.scalar(sample_id, pa.string())).as_py()
        # no text that a table could hold
        except (UnicodeEncodeError, pa.ArrowException):
            row = -1
        if row < 0:
            raise KeyError(sample_id)
        return int(row)

    def _sorted(self, position: int) -> SampleId:
        return str(self._ids[int(self._order[position])].as_py())

    def rows(self, wanted: Sequence[SampleId]) -> np.ndarray:
        """[m] int64 rows of some ids; -1 for those that are not there."""
        # a few are looked up one by one; many are worth hashing all ids once
        if len(wanted) * 1000 < len(self):
            return np.array([self.get(i, -1) for i in wanted], dtype=np.int64)
        values = pa.array(wanted, pa.string())
        rows = pc.fill_null(pc.index_in(values, self._ids), -1)
        return rows.to_numpy(zero_copy_only=False).astype(np.int64)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table so that a reader sees the old file or the whole new one."""
    with replacing(path) as scratch:
        # a checksum of every page: a flipped bit in a number would be read as another number
        pq.write_table(table, scratch, write_page_checksum=True)


def refuse_other(path: Path, names: Sequence[str]) -> None:
    """Refuse to write a table over a file that holds something else.

    A table that begins with the same columns is taken for an earlier one of the same command,
    which ends with the same result when it is given again.

    Args:
        names: the first columns of what is to be written.

    Raises:
        OptionError: another file lies there.
    """
    # an empty file holds nothing that could be lost
    if not path.is_file() or not path.stat().st_size:
        return
    if _first_names(path, len(names)) != list(names):
        raise OptionError(
            f"'{readable(path)}' exists already, and is no table of this kind.",
            "Choose another name with -o, or move the file away.",
        )


def _first_names(path: Path, count: int) -> list[str]:
    """Names of the first columns of a CSV or Parquet file; none where it is neither."""
    # whatever a file of somebody else makes the readers say, it is not ours
    with contextlib.suppress(pa.ArrowException, OSError, ValueError, csv.Error):
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names[:count])
        with path.open(encoding="utf-8-sig", newline="") as file:
            # a file without a line break would else be read whole
            return next(csv.reader([file.readline(LONGEST_HEADER)]), [])[:count]
    return []


def write_csv(table: pa.Table, path: Path) -> None:
    """As `write_parquet`, as CSV (UTF-8, header line).

    Values are those of the data, also where a spreadsheet would run them as a formula;
    `labelsieve export --to csv --safe-formulas` marks them.
    """
    with replacing(path) as scratch:
        pacsv.write_csv(table, scratch)


def read_parquet(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read a table of a run folder.

    Args:
        schema: columns that are needed, in this order and of these types; None gives all.

    Raises:
        RunError: the file is missing or damaged, or a column of `schema` is missing or of
            another type.
    """
    try:
        refuse_endless(path)
        # without partitioning=None a folder named "a=b" would become a column
        table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
        # what is no UTF-8 would else fail where it is used first; names have no checksum
        table.validate(full=True)
        _ = table.column_names
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is missing.", "Run labelsieve scan again with the same options."
        ) from error
    # which error it is depends on the damaged byte
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(f"'{path}' is not readable as Parquet.", AGAIN) from error
    if schema is None:
        return table
    for name in schema.names:
        if name not in table.column_names:
            raise RunError(f"'{path}' lacks the column '{name}'.", AGAIN)
    try:
        kept = schema.with_metadata(table.schema.metadata)
        return table.select(schema.names).cast(kept)
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"'{path}' has columns of other types.", AGAIN) from error


def counts(values: pa.ChunkedArray | Sequence[str]) -> dict[str, int]:
    """How often each value appears, most frequent first."""
    if not isinstance(values, pa.ChunkedArray):
        values = pa.chunked_array([pa.array(values, pa.string())])
    pairs = [
        (c["values"].as_py(), c["counts"].as_py()) for c in pc.value_counts(values)
    ]
    # equally frequent ones by name, so that the order does not depend on that of the rows
    return dict(sorted(pairs, key=lambda p: (-p[1], str(p[0]))))
