"""The life of a run folder: found, begun, given up, noted in, finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsieve.errors import RunError
from labelsieve.files import environment, fingerprint, read_json, write_json
from labelsieve.runs.run import Run


def find(
    folder: Path, command: Mapping[str, Any], *, force: bool = False
) -> Run | None:
    """The run that the same command began in this folder, finished or not; None where a new one can begin.

    Args:
        command: everything that decides the result.
        force: a finished run, or one of another command, may be replaced.

    Raises:
        RunError: the folder holds something else.
    """
    path = folder / "run.json"
    if not path.exists():
        for place in (folder, *folder.parents):
            if place.exists() and not place.is_dir():
                raise RunError(
                    f"'{place}' is a file.", "Choose another folder with -o."
                )
        if folder.exists() and any(
            not f.name.endswith(".partial") for f in folder.iterdir()
        ):
            raise RunError(
                f"'{folder}' is not empty and is no run folder.",
                "Choose another folder with -o.",
            )
        return None
    record = {} if force and not _readable(path) else read_json(path)
    if record.get("identity") == fingerprint(command) and not (
        force and record.get("state") == "finished"
    ):
        return Run(folder)
    if force:
        return None
    changed = _differences(
        json.loads(json.dumps(command, default=str)), record.get("command", {})
    )
    raise RunError(
        f"'{folder}' holds another run ({', '.join(changed) or 'other options'} differ).",
        "Choose another folder with -o, or replace it with --force.",
    )


def begin(folder: Path, command: Mapping[str, Any], *, force: bool = False) -> Run:
    """As `find`, and where there is none a new run, in place of one that `force` replaces."""
    earlier = find(folder, command, force=force)
    if earlier is not None:
        return earlier
    _forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "run.json",
        {
            "state": "running",
            "identity": fingerprint(command),
            "command": dict(command),
            "environment": environment(),
            "working_folder": str(Path.cwd()),
        },
    )
    return Run(folder)


def _readable(path: Path) -> bool:
    try:
        return bool(read_json(path))
    except RunError:
        return False


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Names of what differs; of nested settings the names of the settings."""
    found = []
    for name in now:
        old, new = before.get(name), now[name]
        if isinstance(old, dict) and isinstance(new, dict) and name == "settings":
            found += sorted(
                k for k in old.keys() | new.keys() if old.get(k) != new.get(k)
            )
        elif old != new:
            found.append(name)
    return found


def abandon(run: Run) -> None:
    """Take back a run that failed before it got anywhere; one with a checkpoint is kept, for the same command."""
    if any((run.folder / "checkpoints").glob("*")):
        return
    _forget(run.folder)
    if not any(run.folder.iterdir()):
        run.folder.rmdir()


def _forget(folder: Path) -> None:
    """Remove what an earlier run wrote; nothing else in the folder is touched."""
    for name in (
        "scores.parquet",
        "scores.csv",
        "probs.parquet",
        "noise.json",
        "report.html",
        "preflight.json",
        "manifest.parquet",
        "truth.parquet",
        "run.json",
    ):
        (folder / name).unlink(missing_ok=True)
    for inner in ("checkpoints", "detector"):
        shutil.rmtree(folder / inner, ignore_errors=True)


def note(run: Run, results: Mapping[str, Any]) -> None:
    """Add results to run.json."""
    run.__dict__.pop("record", None)
    write_json(run.folder / "run.json", {**run.record, **results})
    run.__dict__.pop("record", None)


def finish(run: Run, results: Mapping[str, Any]) -> None:
    """Mark a run as done, with its last results: nothing is written after this."""
    note(run, {**results, "state": "finished"})
