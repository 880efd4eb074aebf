"""Slurm: the script, its submission and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from labelsieve.engines import Options, slurm
from labelsieve.errors import OptionError

WORDS = ["scan", "my photos", "-o", "run", "--engine", "slurm", "--shared", "x"]


def test_without_slurm_the_script_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    options = Options(workers=3, gpus_per_worker=1.0, shared=str(tmp_path))
    said = slurm.launch(WORDS, options)
    assert "There is no Slurm here" in said
    script = (tmp_path / slurm.SCRIPT).read_text()
    assert said.startswith(script)
    assert "#SBATCH --array=0-3" in script and "--gpus-per-task=1" in script
    assert "labelsieve scan 'my photos' -o run --shared x --engine folder" in script


@pytest.mark.parametrize("edit", ["#!/bin/bash\necho mine\n", None, ""])
def test_a_script_that_a_person_wrote_or_edited_stays(
    edit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    options = Options(shared=str(tmp_path))
    slurm.launch(WORDS, options)
    slurm.launch(WORDS, options)  # its own is written again
    path = tmp_path / slurm.SCRIPT
    with path.open("w" if edit is not None else "a") as file:
        file.write(edit if edit is not None else "#SBATCH --partition=fast\n")
    there = path.read_bytes()
    with pytest.raises(OptionError, match="would be replaced"):
        slurm.launch(WORDS, options)
    assert path.read_bytes() == there


def fake(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_job_is_submitted_once_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # programs of these names, as Slurm answers: there is no Slurm to test against
    fake(bin_folder, "sbatch", f'echo "$2" >> {tmp_path}/submitted; echo "17;main"')
    fake(bin_folder, "squeue", f"cat {tmp_path}/queue 2>/dev/null")
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    options = Options(shared=str(tmp_path / "shared"))
    assert "Job 17 was submitted" in slurm.launch(WORDS, options)
    (tmp_path / "queue").write_text("17 main running\n")
    assert "Job 17 is still under way" in slurm.launch(WORDS, options)
    (tmp_path / "queue").write_text("")
    assert "Job 17 was submitted" in slurm.launch(WORDS, options)
    assert len((tmp_path / "submitted").read_text().splitlines()) == 2
    fake(bin_folder, "sbatch", "echo 'no such partition' >&2; exit 1")
    with pytest.raises(OptionError, match="no such partition"):
        slurm.launch(WORDS, options)


def test_the_script_is_one_that_bash_reads(tmp_path: Path) -> None:
    text = slurm.script(WORDS, Options(), tmp_path / "a 'folder'")
    path = tmp_path / "script"
    path.write_text(text)
    subprocess.run(["bash", "-n", path], check=True)


def test_an_option_is_left_out_in_either_spelling() -> None:
    assert slurm.without(["a", "--engine", "slurm", "b"], "--engine") == ["a", "b"]
    assert slurm.without(["--engine=slurm", "b"], "--engine") == ["b"]


@pytest.mark.parametrize("shared", [None, "s3://bucket/x"])
def test_a_folder_is_needed(shared: str | None) -> None:
    with pytest.raises(OptionError, match="--shared"):
        slurm.launch(WORDS, Options(shared=shared))
