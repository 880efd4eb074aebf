"""The run folder: what is in it, what command it belongs to, and reading it again.

run.json            the command, resolved: data, model, method, settings, seed, versions, fingerprints, timings, results
manifest.parquet    every image      truth.parquet   true labels, where the user named a column (only scoring reads it)
preflight.json      findings         noise.json      estimated noise
scores.parquet, scores.csv           report.html
probs.parquet       class probabilities, one row per scored image
decisions.sqlite    what people decided               corrections.parquet   what was changed in the data: a patch
detector/           what the method learned, safetensors and config.json
checkpoints/        of work under way; removed when it is done
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsieve.errors import RunError
from labelsieve.tables import MANIFEST, SCORES, TRUTH, read_parquet

LIBRARIES = ("labelsieve", "torch", "transformers", "numpy", "pillow", "pyarrow", "scikit-learn", "peft")


class Run:
    """One scan, opened from its folder.

    Raises:
        RunError: the folder is no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "run.json").is_file():
            raise RunError(
                f"'{self.folder}' is not a run folder: it has no run.json.",
                "Name the folder that labelsieve scan wrote with -o.",
            )

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json."""
        return read_json(self.folder / "run.json")

    @cached_property
    def scores(self) -> pa.Table:
        """One row per image, most suspicious first; columns of `labelsieve.tables.SCORES` and the method's own."""
        table = read_parquet(self.folder / "scores.parquet")
        lacking = [n for n in SCORES.names if n not in table.column_names]
        if lacking:
            raise RunError(
                f"'{self.folder / 'scores.parquet'}' lacks the column '{lacking[0]}'.", "Run labelsieve scan again."
            )
        return table

    @cached_property
    def manifest(self) -> pa.Table:
        """Every image as it was read."""
        return read_parquet(self.folder / "manifest.parquet", MANIFEST)

    def truth(self) -> pa.Table | None:
        """True labels, where the user named a column of them."""
        path = self.folder / "truth.parquet"
        return read_parquet(path, TRUTH) if path.exists() else None

    def probs(self) -> pa.Table:
        """Class probabilities of every scored image: sample_id, and probs, a list of k in the order of `classes`."""
        return read_parquet(self.folder / "probs.parquet")

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted: columns of `probs`, rows of the noise matrix."""
        return list(self.noise["per_class"])

    @cached_property
    def noise(self) -> dict[str, Any]:
        """Estimated share of wrong labels, overall and per class, and the given -> true matrix."""
        return read_json(self.folder / "noise.json")

    @property
    def noise_rate(self) -> tuple[float, float, float]:
        """(estimate, low, high) of the share of wrong labels."""
        noise = self.noise
        return noise["rate"], noise["low"], noise["high"]

    @property
    def preflight(self) -> dict[str, Any]:
        """Findings about the data."""
        return read_json(self.folder / "preflight.json")

    @property
    def finished(self) -> bool:
        """Whether the scan ran to its end."""
        return self.record.get("state") == "finished"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / "report.html"


def find(folder: Path, command: Mapping[str, Any], *, force: bool = False) -> Run | None:
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
                raise RunError(f"'{place}' is a file.", "Choose another folder with -o.")
        if folder.exists() and any(not f.name.endswith(".partial") for f in folder.iterdir()):
            raise RunError(f"'{folder}' is not empty and is no run folder.", "Choose another folder with -o.")
        return None
    record = {} if force and not _readable(path) else read_json(path)
    if record.get("identity") == fingerprint(command) and not (force and record.get("state") == "finished"):
        return Run(folder)
    if force:
        return None
    changed = _differences(json.loads(json.dumps(command, default=str)), record.get("command", {}))
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
    write_json(folder / "run.json", {
        "state": "running", "identity": fingerprint(command), "command": dict(command), "environment": environment(),
        "working_folder": str(Path.cwd()),
    })  # fmt: skip
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
            found += sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
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


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that name a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunError when the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is missing.", "Run labelsieve scan again with the same options; it continues."
        ) from error
    except ValueError as error:
        raise RunError(f"'{path}' is damaged: {error}.", "Delete it and run the command again.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write so that a reader sees the old file or the whole new one."""
    scratch = path.with_name(f".{path.name}.partial")
    scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    scratch.replace(path)


def environment() -> dict[str, str]:
    """Versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
