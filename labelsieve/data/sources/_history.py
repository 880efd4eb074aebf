"""What corrections in place left in `.labelsieve` beside data, as far as reading needs it.

The folder comes with the data, from strangers too: what it says is followed inside the data
alone, and a damaged record is left out.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelsieve import progress
from labelsieve.data.sources import STATE
from labelsieve.errors import DataError
from labelsieve.files import below, readable, refuse_endless, resolve_inside


def records(state: Path) -> list[Path]:
    """The patches that hold, in the order in which they were applied."""
    # of a link itself, as it may lead nowhere, and is refused when it is read
    return sorted(
        state.glob("applied-*.parquet"), key=lambda p: (p.lstat().st_mtime_ns, p.name)
    )


def how_to_go_on(path: Path | None, run: Path) -> str:
    """What helps where data were corrected in place since a run; "" where they were not."""
    if path is None or not _is_corrected(path):
        return ""
    data, folder = shlex.quote(str(path)), shlex.quote(str(run))
    return (
        f"They were corrected in place since. 'labelsieve scan {data} -o NEW' scans them as they "
        f"are now; 'labelsieve apply {folder} --reverse' takes the corrections back."
    )


def _is_corrected(path: Path) -> bool:
    """Whether a patch holds in a folder, or in a table."""
    folder = path if path.is_dir() else path.parent
    for record in records(folder / STATE):
        # tables of one folder share a history
        facts = _facts(record, record.lstat().st_mtime_ns)
        if path.is_dir() or facts.get("table") == path.name:
            return True
    return False


def path_now(root: Path, uri: str) -> Path:
    """Where the file of a folder is now that was listed as `uri`.

    That is where it was, or where patches moved it since.

    Raises:
        DataError: the uri leads out of the folder.
    """
    # links are followed here: what lies behind a linked class folder was listed, too
    listed = below(root, uri)
    if listed is None:
        raise DataError(f"{uri!a} does not lie inside '{readable(root)}'.")
    if os.path.lexists(listed):
        return listed
    now = uri
    for record in records(root / STATE):
        moved = _moves(record, record.lstat().st_mtime_ns)
        if now not in moved:
            continue
        new = moved[now]
        try:
            if new is None:
                return resolve_inside(root / STATE / "dropped", now)
            resolve_inside(root, new)
        except DataError:
            progress.note(
                f"'{readable(record)}' leads out of the data and is left out."
            )
            return listed
        now = new
    return below(root, now) or listed


@functools.lru_cache(maxsize=16)
def _moves(record: Path, changed: int) -> dict[str, str | None]:
    """Old uri -> new one, None where left out; `changed` tells versions of the file apart."""
    try:
        refuse_endless(record)
        table = pq.read_table(record, columns=["uri", "new_uri"])
        moves = zip(table["uri"].to_pylist(), table["new_uri"].to_pylist(), strict=True)
        return dict(moves)
    except Exception:  # a file of a stranger ends in any kind of error
        progress.note(f"'{readable(record)}' is damaged and is left out.")
        return {}


def originals(path: Path) -> list[Path]:
    """A table, or a saved data set, as it was before patches, the latest version first."""
    if path.is_dir():
        kept = (path / STATE / "originals").glob("?" * 16)
    else:
        # the name may hold what stands for other names in patterns
        name = "".join(f"[{c}]" if c in "*?[" else c for c in path.name)
        kept = (path.parent / STATE / "originals").glob("?" * 16 + "-" + name)
    # a link would lead to what was never this table
    own = [p for p in kept if not p.is_symlink()]
    return sorted(own, key=lambda p: -p.stat().st_mtime_ns)


def replaced(top: Path) -> Iterator[dict[Path, Path]]:
    """Files below `top` that patches wrote anew -> what was kept of each, per patch.

    The latest patch comes first. What leads out of the data is left out.
    """
    for record in reversed(records(top / STATE)):
        files = _facts(record, record.lstat().st_mtime_ns).get("files")
        kept = {}
        for uri, fact in files.items() if isinstance(files, dict) else ():
            try:
                own = resolve_inside(top, uri)
                # "+", as nothing but text is a name
                kept[own] = resolve_inside(top / STATE / "originals", "" + fact["kept"])
            except (DataError, TypeError, KeyError):
                progress.note(f"A line of '{readable(record)}' is left out.")
        if kept:
            yield kept


@functools.lru_cache(maxsize=16)
def _facts(record: Path, changed: int) -> dict[str, Any]:
    """What a patch says of how it was applied; `changed` as of `_moves`."""
    try:
        refuse_endless(record)
        # the key that `labelsieve.corrections.patch` writes them under
        facts = json.loads((pq.read_schema(record).metadata or {})[b"labelsieve"])
        return dict(facts)
    except Exception:  # a file of a stranger ends in any kind of error
        progress.note(f"'{readable(record)}' is damaged and is left out.")
        return {}
