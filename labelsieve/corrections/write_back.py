"""Corrections put into data: into a copy, or into the data themselves with a way back.

A copy grows under another name and takes its own when it is whole. Changes in place are first written down as steps, each
of which either happened or did not; a call that finds steps left over from one that was interrupted finishes them. What
was done is kept in the folder `.labelsieve` beside the data: `applied-*.parquet`, the patch with the new places of files;
`originals/`, tables as they were; `dropped/`, files that were left out. So every patch can be reversed, byte for byte. A
later patch of the same scan takes the place of the earlier one: data are always as scanned plus one patch of that scan.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.corrections.journal import Step, carry_out, finish, step
from labelsieve.corrections.patch import patch_id, read_patch, write_patch
from labelsieve.corrections.writers.folder import moves
from labelsieve.corrections.writers.saved import resave
from labelsieve.corrections.writers.table import find_rows, rewrite
from labelsieve.data.sources import STATE, open_source
from labelsieve.data.sources._history import records
from labelsieve.data.sources.folder import FolderSource
from labelsieve.data.sources.hub import HubSource
from labelsieve.data.sources.table import TableSource
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, OptionError, RunError
from labelsieve.files import fingerprint, uri_to_path

Writable = FolderSource | TableSource | HubSource
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """What was done: numbers, where the corrected data are, and a line per change."""

    relabelled: int
    dropped: int
    where: Path
    lines: list[str] = field(default_factory=list)
    already: bool = False  # it had been done before


@dataclass(frozen=True)
class Earlier:
    """A patch that holds in these data."""

    path: Path
    rows: Rows
    facts: Mapping[str, Any]


def describe(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line per change."""
    return [
        f"{row['path']}: {_shown(row['old_label'])} → {_shown(row['new_label'])}  [{row['reason']}]"
        for row in rows
    ]


def _shown(label: str | None) -> str:
    return "(left out)" if label is None else label


def _result(rows: Rows, where: Path, *, already: bool = False) -> Result:
    dropped = sum(row["new_label"] is None for row in rows)
    return Result(len(rows) - dropped, dropped, where, describe(rows), already)


def _news(patch: pa.Table, earlier: Earlier | None) -> Rows:
    """What changes when a patch takes the place of an earlier one."""
    before = {row["sample_id"]: row for row in earlier.rows} if earlier else {}
    found = []
    for row in patch.to_pylist():
        was = before.pop(row["sample_id"], None)
        if was is None or was["new_label"] != row["new_label"]:
            found.append(row if was is None else {**row, "old_label": was["new_label"]})
    back = (
        {
            "old_label": w["new_label"],
            "new_label": w["old_label"],
            "reason": "taken back",
        }
        for w in before.values()
    )
    return found + [
        {**was, **turned} for was, turned in zip(before.values(), back, strict=True)
    ]


def _open(spec: DataSpec) -> Writable:
    """The data, after what an interrupted call left undone is done."""
    path = spec.path()
    if path is not None:
        finish((path if path.is_dir() else path.parent) / STATE)
    source: Any = open_source(spec)
    if isinstance(source, HubSource) and spec.split is not None:
        source = open_source(replace(spec, split=None))
    if not isinstance(source, FolderSource | TableSource | HubSource) or (
        isinstance(source, HubSource) and source.folder is None
    ):
        raise DataError(
            f"'{spec.data}' cannot be written back to: it is no folder of images, table or save_to_disk folder.",
            "Write a corrected copy with labelsieve export --to hf, imagefolder or parquet.",
        )
    return source


def _state(source: Writable) -> Path:
    """Where the history of changes of this data set lies."""
    if isinstance(source, FolderSource):
        return source.root / STATE
    return (
        source.path.parent
        if isinstance(source, TableSource)
        else Path(str(source.folder))
    ) / STATE


def _earlier(state: Path, scan: str | None, wanted: str) -> Earlier | None:
    """The patch `wanted`, or one of the same scan, that holds in these data."""
    for record in reversed(records(state)):
        patch, facts = read_patch(record)
        if (
            scan is not None and facts.get("scan") == scan
        ) or record.name == f"applied-{wanted}.parquet":
            return Earlier(record, patch.to_pylist(), facts)
    return None


def _as_scanned(spec: DataSpec, source: Writable, earlier: Earlier | None) -> Writable:
    """A table or saved data set as it was before an earlier patch. Raises DataError when it was edited since."""
    if earlier is None or isinstance(source, FolderSource):
        return source
    kept = _kept(source, earlier.facts)
    root = spec.root or (
        str(source.path.parent) if isinstance(source, TableSource) else None
    )
    return _open(replace(spec, data=str(kept), root=root))


def _kept(source: TableSource | HubSource, facts: Mapping[str, Any]) -> Path:
    """The original of a table or saved data set, which must still be what the patch made of it."""
    kept = _state(source) / "originals" / str(facts.get("original"))
    name = source.path.name if isinstance(source, TableSource) else None
    if not kept.exists() or facts.get("table") != name:
        raise RunError(
            f"The data as they were are not in '{kept.parent}'.",
            "The patch was applied to others.",
        )
    place = source.path if isinstance(source, TableSource) else Path(str(source.folder))
    if _digest(place) != facts["result"]:
        raise DataError(
            f"'{place}' was changed after the patch.",
            f"The data as they were are in '{kept}'.",
        )
    return kept


def copy(
    spec: DataSpec,
    patch: pa.Table,
    output: Path,
    *,
    links: bool = True,
    scan: str | None = None,
) -> Result:
    """Write a corrected copy: class folders, or a table or saved data set of the same format.

    Args:
        links: images become hard links where the file system allows it; they then share their bytes with the original.
        scan: which scan the patch is of (`labelsieve.corrections.patch.scan_of`).

    Raises:
        OptionError: the place is taken, or the table would change its format.
    """
    source = _open(spec)
    earlier = _earlier(_state(source), scan, patch_id(patch))
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OptionError(
            f"'{output}' exists already.", "Choose another place with -o."
        )
    if (
        isinstance(source, TableSource)
        and output.suffix.lower() != source.path.suffix.lower()
    ):
        raise OptionError(
            f"-o '{output}' must end in {source.path.suffix}, like the table.",
            "Or use labelsieve export.",
        )
    if not isinstance(source, TableSource) and output.resolve().is_relative_to(
        _state(source).parent.resolve()
    ):
        raise OptionError(
            f"-o '{output}' lies inside the data.", "Choose a place beside them."
        )
    scratch = output.with_name(f".{output.name}.labelsieve-partial{output.suffix}")
    output.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, FolderSource):
        _copy_folder(source, patch, scratch, links, earlier, scan)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
        _write(_as_scanned(spec, source, earlier), patch, scratch)
    if output.exists():
        output.rmdir()
    scratch.rename(output)
    return _result(patch.to_pylist(), output)


def _write(source: Writable, patch: pa.Table, target: Path) -> None:
    """A corrected table or saved data set."""
    assert not isinstance(source, FolderSource)
    changes = find_rows(source, patch.to_pylist())
    if isinstance(source, TableSource):
        rewrite(source, changes, target)
    else:
        resave(source, changes, target)


def _copy_folder(
    source: FolderSource,
    patch: pa.Table,
    scratch: Path,
    links: bool,
    earlier: Earlier | None,
    scan: str | None,
) -> None:
    """Every image of the folder below `scratch`, at its corrected place; goes on where an interrupted call stopped."""
    now = _now(source, earlier)
    planned = {m.old: m for m in moves(source, patch.to_pylist(), now)}
    mark = scratch / STATE / "copying"
    wanted = patch_id(patch)
    if scratch.exists() and not (mark.is_file() and mark.read_text() == wanted):
        shutil.rmtree(scratch)
    (scratch / STATE).mkdir(parents=True, exist_ok=True)
    mark.write_text(wanted)
    moved = {row["new_uri"] for row in earlier.rows} if earlier else set()
    listed = {
        row.uri: source.root / uri_to_path(row.uri)
        for row in source.rows()
        if row.uri not in moved
    }
    for uri, place in {**listed, **now}.items():
        to = planned[uri].new if uri in planned else uri
        if to is not None:
            _put(place, scratch / uri_to_path(to), links)
    made = sorted(
        _folders(m.new for m in planned.values() if m.new) - _folders(planned)
    )
    ours = earlier.facts.get("made_folders", []) if earlier else []
    facts = {
        "made_folders": [
            f for f in made if f in ours or not (source.root / uri_to_path(f)).is_dir()
        ],
        "scan": scan,
    }
    write_patch(
        _with_places(patch, {m.sample_id: m.new for m in planned.values()}),
        scratch / STATE / f"applied-{wanted}.parquet",
        facts,
    )
    mark.unlink()


def _folders(uris: Iterable[str]) -> set[str]:
    return {uri.rpartition("/")[0] for uri in uris}


def _now(source: FolderSource, earlier: Earlier | None) -> dict[str, Path]:
    """Where files are that an earlier patch moved, by where they were."""
    rows = earlier.rows if earlier else []
    return {row["uri"]: _place(source, row["uri"], row["new_uri"]) for row in rows}


def _put(old: Path, new: Path, links: bool) -> None:
    if new.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    if links and not old.is_symlink():
        with contextlib.suppress(OSError):  # another file system, or one without links
            os.link(old, new)
            return
    part = new.with_name(
        f".{hashlib.sha256(os.fsencode(new.name)).hexdigest()[:16]}.partial"
    )
    shutil.copy2(old, part)
    part.replace(new)


def check(spec: DataSpec, patch: pa.Table, scan: str | None = None) -> list[str]:
    """What `in_place` would do, a line per change.

    Raises:
        DataError: the patch does not fit the data.
    """
    source = _open(spec)
    state = _state(source)
    if (state / f"applied-{patch_id(patch)}.parquet").exists():
        return []
    earlier = _earlier(state, scan, "")
    if isinstance(source, FolderSource):
        _folder_steps(source, patch, earlier)
    else:
        find_rows(_as_scanned(spec, source, earlier), patch.to_pylist())
    return describe(_news(patch, earlier))


def in_place(spec: DataSpec, patch: pa.Table, scan: str | None = None) -> Result:
    """Correct the data themselves. Interrupted, the next call finishes.

    Args:
        scan: which scan the patch is of; an earlier patch of the same scan is taken back by the way.

    Raises:
        DataError: the data are not what was scanned.
    """
    source = _open(spec)
    state = _state(source)
    record = state / f"applied-{patch_id(patch)}.parquet"
    if record.exists():
        return _result(read_patch(record)[0].to_pylist(), state.parent, already=True)
    state.mkdir(exist_ok=True)
    earlier = _earlier(state, scan, "")
    if isinstance(source, FolderSource):
        steps, applied, facts = _folder_steps(source, patch, earlier)
    else:
        steps, applied, facts = _data_steps(spec, source, patch, earlier)
    part = state / f".{record.name}.new"
    write_patch(applied, part, {**facts, "scan": scan})
    ends = (
        []
        if earlier is None
        else [step("replace", earlier.path, _reversed(earlier.path))]
    )
    carry_out(state, [*steps, *ends, step("replace", part, record)])
    return _result(_news(patch, earlier), state.parent)


def _reversed(record: Path) -> Path:
    return record.with_name(record.name.replace("applied-", "reversed-", 1))


def reverse(spec: DataSpec, patch: pa.Table, scan: str | None = None) -> Result:
    """Undo a patch that was applied to these data, or the one of the same scan. Interrupted, the next call finishes.

    Raises:
        RunError: it was not applied here.
        DataError: files it moved are no longer where it put them, or a table was changed since.
    """
    source = _open(spec)
    state = _state(source)
    found = _earlier(state, scan, patch_id(patch))
    if found is None:
        if (state / f"reversed-{patch_id(patch)}.parquet").exists():
            return _result(patch.to_pylist(), state.parent, already=True)
        raise RunError(
            f"The patch was not applied to '{spec.data}'.",
            f"'{state}' knows nothing of it.",
        )
    if isinstance(source, FolderSource):
        steps = [*_back(source, found.rows), *_tidy(source, found)]
    elif isinstance(source, TableSource):
        steps = [step("replace", _kept(source, found.facts), source.path)]
    else:
        steps = _swaps(
            Path(str(source.folder)), _kept(source, found.facts), _aside(state, found)
        )
    carry_out(state, [*steps, step("replace", found.path, _reversed(found.path))])
    return _result(found.rows, state.parent)


def _folder_steps(
    source: FolderSource, patch: pa.Table, earlier: Earlier | None
) -> tuple[list[Step], pa.Table, dict[str, Any]]:
    before = {row["sample_id"]: row for row in earlier.rows} if earlier else {}
    stay = {
        row["sample_id"]: before[row["sample_id"]]["new_uri"]
        for row in patch.to_pylist()
        if row["sample_id"] in before
        and before[row["sample_id"]]["new_label"] == row["new_label"]
    }
    now, wanted = _now(source, earlier), set(patch["sample_id"].to_pylist())
    planned = moves(
        source, [r for r in patch.to_pylist() if r["sample_id"] not in stay], now
    )
    made = [
        f
        for f in _folders(m.new for m in planned if m.new)
        if not (source.root / uri_to_path(f)).exists()
    ]
    made += earlier.facts.get("made_folders", []) if earlier else []
    olds = {m.old: now.get(m.old, source.root / uri_to_path(m.old)) for m in planned}
    forth = [step("move", olds[m.old], _place(source, m.old, m.new)) for m in planned]
    steps = [
        *_back(source, [r for r in before.values() if r["sample_id"] not in wanted]),
        *forth,
    ]
    places = {**stay, **{m.sample_id: m.new for m in planned}}
    return (
        steps + _tidy(source, earlier),
        _with_places(patch, places),
        {"made_folders": sorted(set(made))},
    )


def _place(source: FolderSource, old: str, new: str | None) -> Path:
    return (
        source.root / uri_to_path(new)
        if new is not None
        else source.root / STATE / "dropped" / uri_to_path(old)
    )


def _with_places(patch: pa.Table, places: Mapping[str, str | None]) -> pa.Table:
    values = [places[i] for i in patch["sample_id"].to_pylist()]
    return patch.set_column(
        patch.column_names.index("new_uri"), "new_uri", pa.array(values, pa.string())
    )


def _back(source: FolderSource, rows: Rows) -> list[Step]:
    steps = []
    for row in rows:
        now, then = (
            _place(source, row["uri"], row["new_uri"]),
            source.root / uri_to_path(row["uri"]),
        )
        if not now.exists() or then.exists():
            raise DataError(
                f"'{now}' is not where the patch put it, or its old place is taken.",
                "Nothing was changed.",
            )
        steps.append(step("move", now, then))
    return steps


def _tidy(source: FolderSource, earlier: Earlier | None) -> list[Step]:
    """Folders that a patch made go where they are empty."""
    made = earlier.facts.get("made_folders", []) if earlier else []
    return [
        step("remove-empty", source.root / uri_to_path(f), source.root) for f in made
    ]


def _data_steps(
    spec: DataSpec,
    source: TableSource | HubSource,
    patch: pa.Table,
    earlier: Earlier | None,
) -> tuple[list[Step], pa.Table, dict[str, Any]]:
    """A table or saved data set is written anew beside the data and takes their place; the original is kept."""
    state = _state(source)
    table = source.path.name if isinstance(source, TableSource) else None
    new = state / (f".{table}.new" if table else ".new")
    shutil.rmtree(new, ignore_errors=True)
    _write(_as_scanned(spec, source, earlier), patch, new)
    kept = state / "originals" / (patch_id(patch) + (f"-{table}" if table else ""))
    facts = {
        "original": str(earlier.facts["original"]) if earlier else kept.name,
        "table": table,
        "result": _digest(new),
    }
    if isinstance(source, HubSource):
        return (
            _swaps(
                Path(str(source.folder)),
                new,
                kept if earlier is None else _aside(state, earlier),
            ),
            patch,
            facts,
        )
    keep = [] if earlier else [step("link", source.path, kept)]
    return [*keep, step("replace", new, source.path)], patch, facts


def _aside(state: Path, patch: Earlier) -> Path:
    """Room for a saved data set as an earlier patch made it, which can be made again from the original."""
    folder = state / "superseded" / patch.path.stem
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _swaps(folder: Path, new: Path, aside: Path) -> list[Step]:
    """What lies in `new` takes the place of what lies in `folder`, which goes to `aside`."""
    incoming = {path.name for path in new.iterdir()}
    present = {path.name for path in folder.iterdir()} - {STATE}
    swaps = [step("swap", new / n, folder / n, aside / n) for n in sorted(incoming)]
    gone = [step("move", folder / n, aside / n) for n in sorted(present - incoming)]
    return [*swaps, *gone, step("remove-empty", new, folder)]


def _digest(path: Path) -> str:
    """Of a file's bytes; of a folder's files and names, our own history left out."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and p.relative_to(path).parts[0] != STATE
    )
    return fingerprint([[p.relative_to(path).as_posix(), _digest(p)] for p in files])
