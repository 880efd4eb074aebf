"""The folder `.labelsieve` beside data: which patches were applied to them, and the way back.

    applied-ID.parquet    a patch that holds, with the new places of files
    reversed-ID.parquet   one that was taken back
    originals/            tables and saved data sets as they were
    dropped/              files that were left out
    superseded/           saved data sets as an earlier patch made them
    journal.json          steps under way, see `labelsieve.corrections.journal`

The folder travels with the data, so it may be a stranger's: what it says is checked before it is
followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections.patch import patch_id, read_patch
from labelsieve.data.sources import STATE
from labelsieve.data.sources._history import records
from labelsieve.errors import DataError
from labelsieve.files import fingerprint, readable, sha256
from labelsieve.progress import plain

# Keys of a record's facts that all storages share: "scan", which scan the patch is of, and
# "table", the name of the table, which folders do not have.
LOCK = "lock"  # file in the history's folder that one process at a time holds
Rows = list[dict[str, Any]]  # of `labelsieve.tables.CORRECTIONS`


@dataclass(frozen=True)
class Earlier:
    """A patch that holds in these data.

    Attributes:
        path: its record.
        rows: one per image, with its new place.
        facts: what the way back needs to know, as the storage's writer wrote it.
    """

    path: Path
    rows: Rows
    facts: Mapping[str, Any]


def state_of(path: Path) -> Path:
    """Where the history of a data set lies: in its folder, or in that of its table.

    Raises:
        DataError: it is a link, so that whatever is written there would go elsewhere.
    """
    # tables of one folder share a history, as they share the pictures
    folder = path if path.is_dir() else path.parent
    state = folder / STATE
    if state.is_symlink() or (state.exists() and not state.is_dir()):
        raise DataError(
            f"'{readable(state)}' is not a folder of its own.",
            "The history of corrections lies there: move it away.",
        )
    return state


def record_of(state: Path, patch: pa.Table) -> Path:
    """The record of a patch while it holds."""
    return state / f"applied-{patch_id(patch)}.parquet"


def new_record(state: Path, patch: pa.Table, table: str | None) -> Path:
    """Where a patch is recorded that is applied now.

    Args:
        table: name of the table; another one of its folder may have the very same patch.
    """
    record = record_of(state, patch)
    if record.exists() and read_patch(record)[1].get("table") != table:
        # hashed, as the name of a table may be as long as the file system allows
        return record.with_stem(f"{record.stem}-{fingerprint(table)[:8]}")
    return record


def reversed_record(record: Path) -> Path:
    """What becomes of a record when its patch is taken back."""
    return record.with_name(record.name.replace("applied-", "reversed-", 1))


def find_earlier(
    state: Path, scan: str | None, patch: pa.Table | None, data_table: str | None = None
) -> Earlier | None:
    """The latest patch that was applied and is `patch`, or is of the same scan.

    Args:
        scan: of `labelsieve.corrections.patch.scan_of`; None where it is not known.
        data_table: name of the table that is corrected; those of one folder share a history.

    Raises:
        RunError, DataError: a record is damaged.
    """
    # in the order in which they were applied, so that the latest comes first
    return _first(reversed(records(state)), scan, patch, data_table)


def find_reversed(
    state: Path, scan: str | None, patch: pa.Table, data_table: str | None = None
) -> Earlier | None:
    """One that was taken back; otherwise as `find_earlier`."""
    taken_back = sorted(state.glob("reversed-*.parquet"))
    return _first(taken_back, scan, patch, data_table)


def _first(
    paths: Iterable[Path],
    scan: str | None,
    patch: pa.Table | None,
    data_table: str | None,
) -> Earlier | None:
    wanted = None if patch is None else patch_id(patch)
    for path in paths:
        table, facts = read_patch(path)
        if facts.get("table") != data_table:
            continue
        # the second part of the name, see `record_of` and `new_record`
        same_patch = path.stem.split("-")[1] == wanted
        if same_patch or (scan is not None and facts.get("scan") == scan):
            return Earlier(path, table.to_pylist(), facts)
    return None


def news(patch: pa.Table, earlier: Earlier | None) -> Rows:
    """What changes when a patch takes the place of an earlier one.

    Returns:
        Rows of the patch that are new or say something else, then rows that are taken back.
    """
    before = by_id(earlier)
    changing = []
    for row in patch.to_pylist():
        # what is left in the end is in the earlier patch alone
        was = before.pop(row["sample_id"], None)
        if was is None:
            changing.append(row)
        elif was["new_label"] != row["new_label"]:
            changing.append({**row, "old_label": was["new_label"]})
    for was in before.values():
        turned = {"old_label": was["new_label"], "new_label": was["old_label"]}
        changing.append({**was, **turned, "reason": "taken back"})
    return changing


def by_id(earlier: Earlier | None) -> dict[str, dict[str, Any]]:
    """Rows of a patch by sample id; none without one."""
    rows = earlier.rows if earlier else []
    return {row["sample_id"]: row for row in rows}


def describe(rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> list[str]:
    """One line per change.

    Args:
        names: sample id -> what the data call the image now. A patch may call it otherwise.
    """
    lines = []
    for row in rows:
        name = names.get(row["sample_id"], row["path"])
        labels = f"{_shown(row['old_label'])} → {_shown(row['new_label'])}"
        # patches of strangers could hide lines with control characters
        lines.append(plain(f"{name}: {labels}  [{_why(row['reason'])}]"))
    return lines


# Why a label was changed, as patches have it, and in words.
WHY = {
    "reviewed: keep": "somebody says that it is right",
    "reviewed: accept": "somebody accepted the suggestion",
    "reviewed: other": "somebody named the right label",
    "reviewed: none": "somebody says that no class fits",
    "reviewed: wrong": "somebody says that it is wrong",
}


def _why(reason: str) -> str:
    return WHY.get(reason, reason)


def _shown(label: str | None) -> str:
    return "(left out)" if label is None else label


def digest(path: Path) -> str:
    """Of a file's bytes; of a folder's files and their names, the history left out."""
    if path.is_file():
        return sha256(path)
    listed = []
    # sorted, as file systems list in any order
    for inner in sorted(path.rglob("*")):
        name = inner.relative_to(path)
        if name.parts[0] == STATE:
            continue
        # a link is what it says: where the folder is kept, it may lead nowhere
        if inner.is_symlink():
            listed.append([name.as_posix(), f"link {os.readlink(inner)}"])
        elif inner.is_file():
            listed.append([name.as_posix(), digest(inner)])
    return fingerprint(listed)


def check_original(kept: Path, was: Any) -> None:
    """Whether what was kept of the data still is what it was when it was kept.

    Args:
        was: its `digest` then; None in records of earlier versions, which say nothing of it.

    Raises:
        DataError: it was damaged, or edited.
    """
    if was is not None and digest(kept) != was:
        raise DataError(
            f"'{readable(kept)}' is not the original that was kept: it was damaged or edited.",
            "Nothing was changed. Put it back from a backup.",
        )
