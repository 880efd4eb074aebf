"""Corrections put into data: into a copy, or into the data themselves with a way back.

A copy grows under another name and takes its own when it is whole. Changes in place are first written down as steps, each
of which either happened or did not; a call that finds steps left over from one that was interrupted finishes them. What
was done is kept in the folder `.labelsieve` beside the data: `applied-*.parquet`, the patch with the new places of files;
`originals/`, tables as they were; `dropped/`, files that were left out. Nothing there is ever deleted, so every patch can
be reversed, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections import patch_id, read_patch, write_patch
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.run import fingerprint, read_json, write_json
from labelsieve.sources import STATE, DataSpec, Source, open_source
from labelsieve.sources._rewrite import find_rows, rewrite
from labelsieve.sources.folder import FolderSource, Move, moves
from labelsieve.sources.table import TableSource
from labelsieve.tables import path_to_uri, uri_to_path

Step = dict[str, str]


@dataclass(frozen=True)
class Result:
    """What was done: numbers, where the corrected data are, and a line per change."""

    relabelled: int
    dropped: int
    where: Path
    lines: list[str] = field(default_factory=list)
    already: bool = False  # it had been done before


def describe(patch: pa.Table) -> list[str]:
    """One line per change."""
    return [
        f"{row['path']}: {row['old_label']} → {row['new_label'] if row['new_label'] is not None else '(left out)'}  [{row['reason']}]"
        for row in patch.to_pylist()
    ]


def _result(patch: pa.Table, where: Path, *, already: bool = False) -> Result:
    dropped = patch["new_label"].null_count
    return Result(len(patch) - dropped, dropped, where, describe(patch), already)


def _open(spec: DataSpec) -> FolderSource | TableSource:
    source: Source = open_source(spec)
    if not isinstance(source, FolderSource | TableSource):
        raise DataError(
            f"'{spec.data}' cannot be written back to: it is neither a folder of images nor a table.",
            "Write a corrected copy with labelsieve export --to hf, imagefolder or parquet.",
        )
    return source


def state_folder(spec: DataSpec) -> Path:
    """Where the history of changes of this data set lies."""
    source = _open(spec)
    return (source.root if isinstance(source, FolderSource) else source.path.parent) / STATE


def copy(spec: DataSpec, patch: pa.Table, output: Path, *, links: bool = True) -> Result:
    """Write a corrected copy: class folders, or a table of the same format.

    Args:
        links: images become hard links where the file system allows it; they then share their bytes with the original.

    Raises:
        OptionError: the place is taken, or the table would change its format.
    """
    source = _open(spec)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(f"'{output}' exists already.", "Choose another place with -o.")
    scratch = output.with_name(f".{output.name}.labelsieve-partial")
    if isinstance(source, TableSource):
        if output.suffix.lower() != source.path.suffix.lower():
            raise OptionError(
                f"-o '{output}' must end in {source.path.suffix}, like the table.", "Or use labelsieve export."
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = scratch.with_suffix(output.suffix)
        rewrite(source, find_rows(source, patch.to_pylist()), scratch)
        scratch.replace(output)
        return _result(patch, output)
    _copy_folder(source, patch, scratch, links)
    if output.exists():
        output.rmdir()
    scratch.rename(output)
    return _result(patch, output)


def _copy_folder(source: FolderSource, patch: pa.Table, scratch: Path, links: bool) -> None:
    """Every image of the folder below `scratch`, at its corrected place; goes on where an interrupted call stopped."""
    planned = {m.old: m for m in moves(source, patch.to_pylist())}
    mark = scratch / STATE / "copying"
    wanted = patch_id(patch)
    if scratch.exists() and not (mark.is_file() and mark.read_text() == wanted):
        shutil.rmtree(scratch)
    (scratch / STATE).mkdir(parents=True, exist_ok=True)
    mark.write_text(wanted)
    for row in source.rows():
        move = planned.get(row.uri)
        place = row.uri if move is None else move.new
        if place is not None:
            _put(source.root / uri_to_path(row.uri), scratch / uri_to_path(place), links)
    made = sorted(
        {m.new.rpartition("/")[0] for m in planned.values() if m.new} - {p.rpartition("/")[0] for p in planned}
    )
    facts = {"made_folders": [f for f in made if not (source.root / uri_to_path(f)).is_dir()]}
    write_patch(_with_places(patch, list(planned.values())), scratch / STATE / f"applied-{wanted}.parquet", facts)
    mark.unlink()


def _put(old: Path, new: Path, links: bool) -> None:
    if new.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if links and not old.is_symlink():
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(old, new)
            return
    part = new.with_name(f".{hashlib.sha256(os.fsencode(new.name)).hexdigest()[:16]}.partial")
    shutil.copy2(old, part)
    part.replace(new)


def check(spec: DataSpec, patch: pa.Table) -> None:
    """Raises DataError when the patch does not fit the data. Nothing is changed."""
    source = _open(spec)
    if (state_folder(spec) / f"applied-{patch_id(patch)}.parquet").exists():
        return
    if isinstance(source, FolderSource):
        moves(source, patch.to_pylist())
    else:
        find_rows(source, patch.to_pylist())


def in_place(spec: DataSpec, patch: pa.Table) -> Result:
    """Correct the data themselves. Interrupted, the next call finishes.

    Raises:
        DataError: the data are not what was scanned.
    """
    source = _open(spec)
    state = state_folder(spec)
    finish(state)
    record = state / f"applied-{patch_id(patch)}.parquet"
    if record.exists():
        return _result(read_patch(record)[0], state.parent, already=True)
    state.mkdir(exist_ok=True)
    if isinstance(source, FolderSource):
        steps, applied, facts = _folder_steps(source, patch)
    else:
        steps, applied, facts = _table_steps(source, patch, state)
    part = state / f".{record.name}.new"
    write_patch(applied, part, facts)
    _run(state, [*steps, _step("replace", part, record)])
    return _result(patch, state.parent)


def reverse(spec: DataSpec, patch: pa.Table) -> Result:
    """Undo a patch that was applied to these data. Interrupted, the next call finishes.

    Raises:
        RunError: it was not applied here.
        DataError: files it moved are no longer where it put them, or a table was changed since.
    """
    source = _open(spec)
    state = state_folder(spec)
    finish(state)
    record = state / f"applied-{patch_id(patch)}.parquet"
    if not record.exists():
        if (state / f"reversed-{patch_id(patch)}.parquet").exists():
            return _result(patch, state.parent, already=True)
        raise RunError(f"The patch was not applied to '{spec.data}'.", f"'{state}' knows nothing of it.")
    applied, facts = read_patch(record)
    if isinstance(source, FolderSource):
        steps = _folder_back(source, applied, facts)
    else:
        steps = _table_back(source, facts, state)
    _run(state, [*steps, _step("replace", record, state / f"reversed-{patch_id(patch)}.parquet")])
    return _result(applied, state.parent)


def _folder_steps(source: FolderSource, patch: pa.Table) -> tuple[list[Step], pa.Table, dict[str, Any]]:
    planned = moves(source, patch.to_pylist())
    folders = sorted({m.new.rpartition("/")[0] for m in planned if m.new})
    made = [f for f in folders if not (source.root / uri_to_path(f)).exists()]
    steps = [_step("move", source.root / uri_to_path(m.old), _place(source, m.old, m.new)) for m in planned]
    return steps, _with_places(patch, planned), {"made_folders": made}


def _place(source: FolderSource, old: str, new: str | None) -> Path:
    return source.root / uri_to_path(new) if new is not None else source.root / STATE / "dropped" / uri_to_path(old)


def _with_places(patch: pa.Table, planned: list[Move]) -> pa.Table:
    places = {m.sample_id: m.new for m in planned}
    values = [places[i] for i in patch["sample_id"].to_pylist()]
    return patch.set_column(patch.column_names.index("new_uri"), "new_uri", pa.array(values, pa.string()))


def _folder_back(source: FolderSource, applied: pa.Table, facts: Mapping[str, Any]) -> list[Step]:
    steps = []
    for row in applied.to_pylist():
        now, then = _place(source, row["uri"], row["new_uri"]), source.root / uri_to_path(row["uri"])
        if not now.exists() or then.exists():
            raise DataError(
                f"'{now}' is not where the patch put it, or its old place is taken.", "Nothing was changed."
            )
        steps.append(_step("move", now, then))
    return steps + [
        _step("remove-empty", source.root / uri_to_path(f), source.root) for f in facts.get("made_folders", [])
    ]


def _table_steps(source: TableSource, patch: pa.Table, state: Path) -> tuple[list[Step], pa.Table, dict[str, Any]]:
    new = state / f".{source.path.name}.new"
    rewrite(source, find_rows(source, patch.to_pylist()), new)
    kept = state / "originals" / f"{patch_id(patch)}-{source.path.name}"
    facts = {"original": kept.name, "table": source.path.name, "result": _digest(new)}
    return [_step("link", source.path, kept), _step("replace", new, source.path)], patch, facts


def _table_back(source: TableSource, facts: Mapping[str, Any], state: Path) -> list[Step]:
    kept = state / "originals" / str(facts.get("original"))
    if not kept.exists() or facts.get("table") != source.path.name:
        raise RunError(f"The table as it was is not in '{kept.parent}'.", "The patch was applied to another table.")
    if _digest(source.path) != facts["result"]:
        raise DataError(f"'{source.path}' was changed after the patch.", f"The table as it was is '{kept}'.")
    return [_step("replace", kept, source.path)]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _step(verb: str, old: Path, new: Path) -> Step:
    return {"do": verb, "from": path_to_uri(os.path.abspath(old)), "to": path_to_uri(os.path.abspath(new))}


def _run(state: Path, steps: list[Step]) -> None:
    write_json(state / "journal.json", {"steps": steps, "check": fingerprint(steps)})
    _sync(state)
    finish(state)


def finish(state: Path) -> bool:
    """Do what an interrupted call left undone; gives whether there was anything.

    Raises:
        RunError: the list of steps is damaged.
        DataError: a file is neither at its old nor at its new place.
    """
    journal = state / "journal.json"
    if not journal.exists():
        return False
    found = read_json(journal)
    if found.get("check") != fingerprint(found.get("steps")):
        raise RunError(f"'{journal}' is damaged.", "Compare the data with the patch by hand.")
    for step in found["steps"]:
        _do(step["do"], Path(uri_to_path(step["from"])), Path(uri_to_path(step["to"])))
    journal.unlink()
    return True


def _do(verb: str, old: Path, new: Path) -> None:
    """One step; doing it again changes nothing."""
    if verb == "remove-empty":
        with contextlib.suppress(OSError):  # it holds files of somebody else, or is gone already
            old.rmdir()
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(old):
        if not os.path.lexists(new):
            raise DataError(f"'{old}' is gone, and it is not at '{new}' either.", "Put it back and call again.")
        return
    if verb == "link":
        if not new.exists():
            _link_or_copy(old, new)
    elif verb == "move" and os.path.lexists(new):
        raise DataError(f"'{new}' appeared meanwhile.", "Move it away and call again.")
    else:
        os.replace(old, new)
    _sync(new.parent)


def _link_or_copy(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:
        part = new.with_name(f".{new.name}.partial")
        shutil.copy2(old, part)
        part.replace(new)


def _sync(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
