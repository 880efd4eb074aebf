"""Which labels to change: people's decisions and confident scores as a table, a patch that can be applied and reversed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.errors import DataError, RunError
from labelsieve.files import fingerprint
from labelsieve.runs.run import Run
from labelsieve.tables import CORRECTIONS, check_unique, read_parquet, write_parquet

RELABEL, DROP = "relabel", "drop"
FACTS = b"labelsieve"  # where a patch keeps facts about having been applied, in the metadata of its schema


def scan_of(opened: Run) -> str:
    """Names what a run scanned: the same images with the same labels in the same places."""
    table = opened.manifest.select(["sample_id", "uri", "given_label"]).sort_by(
        "sample_id"
    )
    return fingerprint([column.to_pylist() for column in table.columns])


def patch_id(patch: pa.Table) -> str:
    """Names what a patch does, whatever happened to it since."""
    rows = sorted(
        zip(
            *(patch[c].to_pylist() for c in ("sample_id", "action", "new_label")),
            strict=True,
        ),
        key=str,
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_patch(
    patch: pa.Table, path: Path, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a patch; `facts` say how it was applied."""
    write_parquet(
        patch.replace_schema_metadata({FACTS: json.dumps(dict(facts or {})).encode()}),
        path,
    )


def read_patch(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A patch and the facts of its application.

    Raises:
        RunError: not there, or no patch.
        DataError: an image appears twice, or an action is unknown.
    """
    table = read_parquet(path)
    if any(name not in table.column_names for name in CORRECTIONS.names):
        raise RunError(
            f"'{path}' is no patch of corrections.",
            "Give a corrections.parquet that labelsieve apply wrote.",
        )
    facts = json.loads((table.schema.metadata or {}).get(FACTS, b"{}"))
    table = table.select(CORRECTIONS.names).cast(CORRECTIONS)
    check_unique(table)
    for row in table.select(["action", "new_label", "path"]).to_pylist():
        if row["action"] not in (RELABEL, DROP) or (row["action"] == RELABEL) is (
            row["new_label"] is None
        ):
            raise DataError(
                f"'{path}': the row of '{row['path']}' is neither a new label nor a drop.",
                "The patch is damaged.",
            )
    return table, facts


def labels_after(patch: pa.Table) -> dict[str, str | None]:
    """Sample id -> label after the patch, None where dropped."""
    return dict(
        zip(patch["sample_id"].to_pylist(), patch["new_label"].to_pylist(), strict=True)
    )
