"""Words that speak for and against labels of texts: a file of the run, by sample id.

words.parquet has a row for each text that the scan flagged (some thousand at most): sample_id,
speaks_for and against, lists of words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from labelsieve.data.text.words import SHOWN, Spoken
from labelsieve.progress import plain
from labelsieve.runs._shape import check_ids
from labelsieve.runs.run import Run
from labelsieve.tables import read_parquet, write_parquet

NAME = "words.parquet"
SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("speaks_for", pa.list_(pa.string())),
        ("against", pa.list_(pa.string())),
    ]
)
LONGEST = 40  # letters of a word: a run may come from a stranger


def write(folder: Path, spoken: Mapping[str, Spoken]) -> None:
    """Write what words say of some texts, by sample id."""
    rows = [
        {"sample_id": i, "speaks_for": s.speaks_for, "against": s.against}
        for i, s in spoken.items()
    ]
    write_parquet(pa.Table.from_pylist(rows, SCHEMA), folder / NAME)


def of_run(opened: Run) -> dict[str, Spoken]:
    """What words say of texts of a run, by sample id; empty where it has none.

    Raises:
        RunError: the file is damaged.
    """
    if not (opened.folder / NAME).exists():
        return {}
    path = opened.file(NAME)
    table = read_parquet(path, SCHEMA)
    check_ids(path, table)
    return {
        row["sample_id"]: Spoken(_shown(row["speaks_for"]), _shown(row["against"]))
        for row in table.to_pylist()
    }


def _shown(words: list[str | None] | None) -> list[str]:
    return [plain(word)[:LONGEST] for word in (words or [])[:SHOWN] if word]
