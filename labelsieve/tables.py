"""The tables that stages hand to each other, their columns, and the rule that every image appears exactly once.

All are joined by `sample_id`; nothing is ever matched by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from labelsieve.errors import DataError, RunError

SampleId: TypeAlias = str

# What is known about a row before any method ran.
OK, CORRUPT, UNLABELLED, CONFLICT = "ok", "corrupt", "unlabelled", "duplicate-conflict"
SCORED = (OK, CONFLICT)

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
        (
            "p_clean",
            pa.float64(),
        ),  # probability that the given label is right; null where nothing could be said
        ("is_label_issue", pa.bool_()),
        ("suggested_label", pa.string()),
        ("suggested_prob", pa.float64()),
        (
            "margin",
            pa.float64(),
        ),  # probability of the given label minus that of the best other one, in [-1, 1]
        ("rank", pa.int64()),  # 1 = most suspicious
        ("status", pa.string()),
        ("reason", pa.string()),
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
        (
            "new_uri",
            pa.string(),
        ),  # where it is afterwards, for folders; null until applied
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
    """`key` (the user's id, relative path or content) and the first twelve hex digits of the content's hash."""
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
    """Every id of the manifest exactly once in `table`, and no other: anything else is a bug of ours."""
    ours, theirs = (
        pc.take(t["sample_id"], pc.sort_indices(t["sample_id"]))
        for t in (table, manifest)
    )
    if not ours.equals(theirs):
        raise AssertionError("scores and manifest do not hold the same sample ids")


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table so that a reader sees the old file or the whole new one."""
    scratch = path.with_name(f".{path.name}.partial")
    pq.write_table(table, scratch)
    scratch.replace(path)


def write_csv(table: pa.Table, path: Path) -> None:
    """As `write_parquet`, as CSV (UTF-8, header line)."""
    scratch = path.with_name(f".{path.name}.partial")
    pacsv.write_csv(table, scratch)
    scratch.replace(path)


def read_parquet(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read a table of a run folder.

    Raises:
        RunError: the file is missing, is not Parquet, or lacks a column of `schema`.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is missing.", "Run labelsieve scan again with the same options."
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(
            f"'{path}' is not readable as Parquet.",
            "Delete it and run the command again.",
        ) from error
    lacking = (
        []
        if schema is None
        else [n for n in schema.names if n not in table.column_names]
    )
    if lacking:
        raise RunError(
            f"'{path}' lacks the column '{lacking[0]}'.",
            "Delete it and run the command again.",
        )
    return table if schema is None else table.select(schema.names)


def counts(values: pa.ChunkedArray | Sequence[str]) -> dict[str, int]:
    """How often each value appears, most frequent first."""
    array = (
        values
        if isinstance(values, pa.ChunkedArray)
        else pa.chunked_array([pa.array(values, pa.string())])
    )
    pairs = [(c["values"].as_py(), c["counts"].as_py()) for c in pc.value_counts(array)]
    return dict(sorted(pairs, key=lambda p: (-p[1], str(p[0]))))
