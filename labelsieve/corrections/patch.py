"""A patch: which labels to change, as a table that can be applied, given to others and reversed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.errors import DataError, RunError
from labelsieve.files import fingerprint
from labelsieve.progress import plain
from labelsieve.runs.run import Run
from labelsieve.tables import CORRECTIONS, check_unique, read_parquet, write_parquet

RELABEL = "relabel"
DROP = "drop"
# Key in the metadata of a patch's schema: facts about how it was applied.
FACTS = b"labelsieve"
HAS_FACTS = b"labelsieve-facts"  # likewise: a damaged key would else pass for none
DIGEST = "sha256"  # among the facts: of the rows and of the other facts
SEALED = (
    "sealed"  # likewise: there is a digest, also where its own key is what was damaged
)
# What no row can do without.
NEEDED = ("sample_id", "uri", "path")


def scan_of(opened: Run) -> str:
    """Names what a run scanned: the same images with the same labels in the same places."""
    # no scores: a second scan of the same data with other settings is the same scan here
    names = ["sample_id", "uri", "given_label"]
    table = opened.manifest.select(names).sort_by("sample_id")
    return fingerprint([column.to_pylist() for column in table.columns])


def patch_id(patch: pa.Table) -> str:
    """Names what a patch does, whatever happened to it since: sixteen hex digits."""
    # not the new places: they differ from one copy of the data to the next
    columns = [patch[c].to_pylist() for c in ("sample_id", "action", "new_label")]
    # sorted by their text, as None and text do not compare
    rows = sorted(zip(*columns, strict=True), key=str)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def write_patch(
    patch: pa.Table, path: Path, facts: Mapping[str, Any] | None = None
) -> None:
    """Write a patch; `facts` say how it was applied."""
    told = {**(facts or {}), SEALED: True}
    about = json.dumps({**told, DIGEST: _digest(patch, told)}).encode()
    told_twice = {FACTS: about, HAS_FACTS: b"yes"}
    write_parquet(patch.replace_schema_metadata(told_twice), path)


def _digest(patch: pa.Table, facts: Mapping[str, Any]) -> str:
    """SHA-256 of what a patch says, whatever the types of its columns.

    Parquet has checksums of its pages, and none of its schema, where the facts are.
    """
    columns = [patch[name].to_pylist() for name in CORRECTIONS.names]
    text = json.dumps([dict(facts), columns], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_patch(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A patch and the facts of its application.

    Raises:
        RunError: the file is missing, or is no patch.
        DataError: an image appears twice, or a row says nothing that can be done.
    """
    table = read_parquet(path)
    if any(name not in table.column_names for name in CORRECTIONS.names):
        raise RunError(
            f"'{path}' is not a patch of corrections.",
            "Give a corrections.parquet that labelsieve apply wrote.",
        )
    facts = _facts(table.schema.metadata or {}, path)
    try:
        table = table.select(CORRECTIONS.names).cast(CORRECTIONS)
    except pa.ArrowException as error:
        raise _damaged(path, f"a column is not text ({error})") from error
    # patches of earlier versions have none
    digest = facts.pop(DIGEST, None)
    if (digest or SEALED in facts) and digest != _digest(table, facts):
        raise _damaged(path, "it does not match its checksum")
    facts.pop(SEALED, None)
    # two rows for one image would say two things
    check_unique(table)
    for row in table.to_pylist():
        _check_row(row, path)
    return table, facts


def _facts(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, Any]:
    # one flipped bit can hide the whole list from a reader, and not its text
    if FACTS not in metadata and HAS_FACTS in path.read_bytes():
        raise _damaged(path, "its facts are gone")
    try:
        facts = json.loads(metadata.get(FACTS, b"{}"))
    except ValueError as error:  # no JSON, no UTF-8
        raise _damaged(path, "its facts are no JSON") from error
    if not isinstance(facts, dict):
        raise _damaged(path, "its facts have no names")
    return facts


def _check_row(row: Mapping[str, Any], path: Path) -> None:
    if any(row[name] is None for name in NEEDED):
        raise _damaged(path, "a row names no image")
    wants_label = row["action"] == RELABEL
    if row["action"] not in (RELABEL, DROP) or wants_label is (
        row["new_label"] is None
    ):
        name = plain(row["path"])
        raise _damaged(path, f"the row of '{name}' is neither a new label nor a drop")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"The patch '{path}' is damaged: {why}.", "Write it again.")


def labels_after(patch: pa.Table) -> dict[str, str | None]:
    """Sample id -> label after the patch, None where the image is left out."""
    ids = patch["sample_id"].to_pylist()
    return dict(zip(ids, patch["new_label"].to_pylist(), strict=True))
