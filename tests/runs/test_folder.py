"""A work folder: which command it belongs to, beginning, continuing, replacing, taking back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from labelsieve.errors import RunError
from labelsieve.runs.folder import FINISHED, RUNNING, WorkFolder
from labelsieve.runs.run import Run, run_folder

COMMAND: dict[str, Any] = {
    "data": "photos",
    "method": "deft",
    "model": "tiny",
    "seed": 0,
    "settings": {"epochs": 2, "lr": 0.1},
}
OTHER: dict[str, Any] = {
    "data": "photos",
    "method": "deft",
    "model": "tiny",
    "seed": 1,
    "settings": {"epochs": 3, "lr": 0.1},
}


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    """The folder of a scan that has not begun."""
    return run_folder(tmp_path / "run")


def test_a_new_run_records_its_command_and_the_versions_behind_it(
    work: WorkFolder,
) -> None:
    work.begin(COMMAND)
    assert work.read()["command"] == COMMAND
    assert work.read()["state"] == "running"
    for library in ("torch", "transformers", "numpy", "pillow", "pyarrow"):
        assert work.read()["environment"][library] == version(library)


def test_the_same_command_continues_and_writes_nothing(
    work: WorkFolder, tmp_path: Path
) -> None:
    work.begin(COMMAND)
    before = (tmp_path / "run" / "run.json").stat().st_mtime_ns
    assert work.find(dict(reversed(COMMAND.items()))) == RUNNING
    work.begin(COMMAND)
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns == before


def test_looking_for_a_run_makes_no_folder(work: WorkFolder, tmp_path: Path) -> None:
    assert work.find(COMMAND) is None
    assert not (tmp_path / "run").exists()


def test_another_command_is_refused_and_told_what_differs(work: WorkFolder) -> None:
    work.begin(COMMAND)
    with pytest.raises(RunError) as caught:
        work.begin(OTHER)
    listed = re.search(r"\((.*) differ\)", caught.value.what)
    assert listed is not None and set(listed[1].split(", ")) == {"epochs", "seed"}
    assert "--force" in caught.value.do


def test_force_replaces_a_run_but_keeps_what_it_did_not_write(work: WorkFolder) -> None:
    folder = work.path
    work.begin(COMMAND)
    for name in (
        "scores.parquet",
        "scores.csv",
        "noise.json",
        "manifest.parquet",
        "truth.parquet",
        "report.html",
    ):
        (folder / name).write_text("old")
    for name in (
        "detector/config.json",
        "checkpoints/deft.safetensors",
        "checkpoints/.deft.safetensors.partial",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("old")
    (folder / "my notes.txt").write_text("mine")
    work.begin(OTHER, force=True)
    assert {f.relative_to(folder).as_posix() for f in folder.rglob("*")} == {
        "run.json",
        "my notes.txt",
    }
    assert work.read()["command"] == OTHER


def test_force_continues_the_same_command_until_it_is_finished(
    work: WorkFolder,
) -> None:
    work.begin(COMMAND, force=True)
    (work.path / "checkpoints").mkdir()
    (work.path / "checkpoints" / "a.safetensors").write_text("work")
    work.begin(COMMAND, force=True)
    assert (work.path / "checkpoints" / "a.safetensors").exists()
    work.finish({})
    assert work.find(COMMAND) == FINISHED
    assert work.find(COMMAND, force=True) is None
    assert work.begin(COMMAND, force=True) == RUNNING


def test_a_folder_of_something_else_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("dear")
    for force in (False, True):
        with pytest.raises(RunError, match="not empty and is not a run folder"):
            run_folder(tmp_path / "photos").begin(COMMAND, force=force)
        with pytest.raises(RunError, match="is a file"):
            run_folder(tmp_path / "photos" / "holiday.jpg").begin(COMMAND, force=force)
    assert [f.name for f in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_a_run_killed_while_it_wrote_its_first_file_can_begin_again(
    tmp_path: Path,
) -> None:
    (tmp_path / ".run.json.partial").write_text("{")
    assert run_folder(tmp_path).begin(COMMAND) == RUNNING


def test_a_damaged_record_is_named_and_can_be_replaced(
    work: WorkFolder, tmp_path: Path
) -> None:
    work.begin(COMMAND)
    (tmp_path / "run" / "run.json").write_text("{ half")
    with pytest.raises(RunError, match=r"run\.json' is damaged"):
        work.find(COMMAND)
    assert work.begin(COMMAND, force=True) == RUNNING


def test_a_run_that_failed_at_once_leaves_nothing(
    work: WorkFolder, tmp_path: Path
) -> None:
    work.begin(COMMAND)
    (work.path / "manifest.parquet").write_text("x")
    work.abandon()
    assert not (tmp_path / "run").exists()


def test_a_run_that_failed_late_keeps_its_checkpoint(work: WorkFolder) -> None:
    work.begin(COMMAND)
    (work.path / "checkpoints").mkdir()
    (work.path / "checkpoints" / "deft.safetensors").write_text("work")
    work.abandon()
    assert work.find(COMMAND) == RUNNING
    assert (work.path / "checkpoints" / "deft.safetensors").exists()


def test_taking_back_leaves_files_of_others(work: WorkFolder) -> None:
    work.begin(COMMAND)
    (work.path / "decisions.sqlite").write_text("a person's work")
    work.abandon()
    assert [f.name for f in work.path.iterdir()] == ["decisions.sqlite"]


def test_results_are_added_and_seen_at_once(work: WorkFolder, tmp_path: Path) -> None:
    work.begin(COMMAND)
    assert "images" not in work.read()
    work.note({"images": 5})
    assert work.read()["images"] == 5 and work.read()["state"] == RUNNING
    results = {"flagged": 2, "scored": 3, "data_fingerprint": "ab"}
    work.finish(results)
    assert Run(work.path).finished and Run(work.path).record == work.read()
    assert work.read()["command"] == COMMAND and work.read()["images"] == 5


def test_a_second_process_waits_for_the_folder(work: WorkFolder) -> None:
    """Whoever comes second begins when the first has ended, and sees what it left."""
    waiter = f"""
import sys
from pathlib import Path
from labelsieve.runs.run import run_folder
work = run_folder(Path({str(work.path)!r}))
print("ready", flush=True)
with work.locked():
    print(work.begin({COMMAND!r}), flush=True)
"""
    with work.locked(), work.locked():  # once more in the same thread is no deadlock
        second = subprocess.Popen(
            [sys.executable, "-c", waiter],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stdout is not None
        assert second.stdout.readline() == "ready\n"
        work.begin(COMMAND)
        work.finish({})
    told, notes = second.communicate(timeout=60)
    assert told == f"{FINISHED}\n"
    assert not notes or "Another labelsieve works on" in notes


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_a_run_is_the_users_alone_whatever_the_umask(work: WorkFolder) -> None:
    before = os.umask(0)
    try:
        work.begin(COMMAND)
        (work.path / "detector").mkdir()
        for name in ("scores.parquet", "detector/config.json", "report.html"):
            (work.path / name).write_text("x")
        work.finish({})
    finally:
        os.umask(before)
    for path in (work.path, *work.path.rglob("*")):
        expected = 0o700 if path.is_dir() else 0o600
        assert path.stat().st_mode & 0o777 == expected, path


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("name", ["detector", "checkpoints", "checkpoints/deft"])
def test_work_is_not_continued_behind_a_link(
    work: WorkFolder, tmp_path: Path, name: str
) -> None:
    work.begin(COMMAND)
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "own").write_text("mine")
    link = work.path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    with pytest.raises(RunError, match="is a link"):
        work.begin(COMMAND)
    # another command takes the folder: links go, what they lead to stays
    work.begin(OTHER, force=True)
    assert not link.is_symlink()
    assert (target / "own").read_text() == "mine"
