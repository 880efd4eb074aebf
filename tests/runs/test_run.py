"""The run folder: which command it belongs to, beginning, continuing, replacing and taking back."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from labelsieve import files, tables
from labelsieve.errors import RunError
from labelsieve.files import fingerprint, read_json, write_json
from labelsieve.runs.folder import abandon, begin, find, finish, note
from labelsieve.runs.run import Run

COMMAND = {
    "data": "photos",
    "model": "tiny",
    "seed": 0,
    "settings": {"epochs": 2, "lr": 0.1},
}
OTHER = {
    "data": "photos",
    "model": "tiny",
    "seed": 1,
    "settings": {"epochs": 3, "lr": 0.1},
}


def test_a_new_run_records_its_command_and_the_versions_behind_it(
    tmp_path: Path,
) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    assert opened.record["command"] == COMMAND
    assert opened.record["state"] == "running"
    assert not opened.finished
    for library in ("torch", "transformers", "numpy", "pillow", "pyarrow"):
        assert opened.record["environment"][library] == version(library)


def test_the_same_command_continues_and_writes_nothing(tmp_path: Path) -> None:
    begin(tmp_path / "run", COMMAND)
    before = (tmp_path / "run" / "run.json").stat().st_mtime_ns
    found = find(tmp_path / "run", dict(reversed(COMMAND.items())))
    assert found is not None and found.folder == tmp_path / "run"
    begin(tmp_path / "run", COMMAND)
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns == before


def test_looking_for_a_run_makes_no_folder(tmp_path: Path) -> None:
    assert find(tmp_path / "run", COMMAND) is None
    assert not (tmp_path / "run").exists()


def test_another_command_is_refused_and_told_what_differs(tmp_path: Path) -> None:
    begin(tmp_path / "run", COMMAND)
    with pytest.raises(RunError) as caught:
        begin(tmp_path / "run", OTHER)
    listed = re.search(r"\((.*) differ\)", caught.value.what)
    assert listed is not None and set(listed[1].split(", ")) == {"epochs", "seed"}
    assert "--force" in caught.value.do


def test_force_replaces_a_run_but_keeps_what_it_did_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(folder, COMMAND)
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
    opened = begin(folder, OTHER, force=True)
    assert {f.relative_to(folder).as_posix() for f in folder.rglob("*")} == {
        "run.json",
        "my notes.txt",
    }
    assert opened.record["command"] == OTHER


def test_force_continues_the_same_command_until_it_is_finished(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND, force=True)
    (opened.folder / "checkpoints").mkdir()
    (opened.folder / "checkpoints" / "a.safetensors").write_text("work")
    begin(tmp_path / "run", COMMAND, force=True)
    assert (opened.folder / "checkpoints" / "a.safetensors").exists()
    finish(opened, {})
    assert find(tmp_path / "run", COMMAND) is not None
    assert find(tmp_path / "run", COMMAND, force=True) is None
    assert not begin(tmp_path / "run", COMMAND, force=True).finished


def test_a_folder_of_something_else_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_text("dear")
    for force in (False, True):
        with pytest.raises(RunError, match="not empty and is no run folder"):
            begin(tmp_path / "photos", COMMAND, force=force)
        with pytest.raises(RunError, match="is a file"):
            begin(tmp_path / "photos" / "holiday.jpg", COMMAND, force=force)
    assert [f.name for f in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_a_run_killed_while_it_wrote_its_first_file_can_begin_again(
    tmp_path: Path,
) -> None:
    (tmp_path / ".run.json.partial").write_text("{")
    assert begin(tmp_path, COMMAND).record["command"] == COMMAND


def test_a_damaged_record_is_named_and_can_be_replaced(tmp_path: Path) -> None:
    begin(tmp_path / "run", COMMAND)
    (tmp_path / "run" / "run.json").write_text("{ half")
    with pytest.raises(RunError, match=r"run\.json' is damaged"):
        find(tmp_path / "run", COMMAND)
    assert begin(tmp_path / "run", COMMAND, force=True).record["state"] == "running"


def test_a_run_that_failed_at_once_leaves_nothing(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    (opened.folder / "manifest.parquet").write_text("x")
    abandon(opened)
    assert not (tmp_path / "run").exists()


def test_a_run_that_failed_late_keeps_its_checkpoint(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    (opened.folder / "checkpoints").mkdir()
    (opened.folder / "checkpoints" / "deft.safetensors").write_text("work")
    abandon(opened)
    assert find(tmp_path / "run", COMMAND) is not None
    assert (opened.folder / "checkpoints" / "deft.safetensors").exists()


def test_taking_back_leaves_files_of_others(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    (opened.folder / "decisions.sqlite").write_text("a person's work")
    abandon(opened)
    assert [f.name for f in opened.folder.iterdir()] == ["decisions.sqlite"]


def test_results_are_added_and_seen_at_once(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    assert "images" not in opened.record
    note(opened, {"images": 5})
    assert opened.record["images"] == 5 and not opened.finished
    finish(opened, {"flagged": 2})
    assert opened.finished
    assert Run(tmp_path / "run").record == opened.record
    assert opened.record["command"] == COMMAND and opened.record["images"] == 5


def test_fingerprints() -> None:
    assert (
        fingerprint({"a": 1, "b": [2]})
        == fingerprint({"b": [2], "a": 1})
        == "ae8a9a5052464275"
    )
    assert fingerprint({"a": 1, "b": [3]}) != fingerprint({"a": 1, "b": [2]})


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder") as caught:
        Run(tmp_path)
    assert "scan" in caught.value.do


def test_missing_and_damaged_tables_are_named(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    with pytest.raises(RunError, match=r"scores\.parquet' is missing"):
        _ = opened.scores
    (opened.folder / "manifest.parquet").write_text("no parquet")
    with pytest.raises(RunError, match=r"manifest\.parquet' is not readable"):
        _ = opened.manifest
    tables.write_parquet(
        pa.table({"sample_id": ["a"], "path": ["a"]}), opened.folder / "scores.parquet"
    )
    with pytest.raises(RunError, match="lacks the column 'given_label'"):
        _ = opened.scores
    with pytest.raises(RunError, match=r"noise\.json' is missing"):
        _ = opened.noise
    assert opened.truth() is None


def test_noise_rate_is_estimate_low_high(tmp_path: Path) -> None:
    opened = begin(tmp_path / "run", COMMAND)
    write_json(
        opened.folder / "noise.json",
        {"rate": 0.2, "low": 0.1, "high": 0.4, "per_class": {"a": 0.2, "b": 0.1}},
    )
    assert opened.noise_rate == (0.2, 0.1, 0.4)
    assert opened.classes == ["a", "b"]


def test_json_is_whole_or_old(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"name": "grün", "at": Path("a/b")})
    assert read_json(path) == {"name": "grün", "at": "a/b"}
    assert "grün" in path.read_text(encoding="utf-8")
    endless: dict[str, object] = {}
    endless["self"] = endless
    with pytest.raises(ValueError):
        write_json(path, endless)
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "grün"
    assert files.LIBRARIES[0] == "labelsieve"
