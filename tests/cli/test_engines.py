"""Options about several processes and machines, and the command of a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelsieve.cli import engines
from labelsieve.engines import slurm


def test_an_engine_that_is_unknown_is_one_line(
    call: Callable[..., Any], digit_folder: Path, tmp_path: Path
) -> None:
    called = call("scan", digit_folder, "-o", tmp_path / "run", "--engine", "processe")
    assert called.code == 2
    assert "Engine 'processe' is unknown" in called.err
    assert "Did you mean 'processes'?" in called.err
    assert not (tmp_path / "run").exists()


def test_slurm_writes_its_script_and_begins_nothing(
    call: Callable[..., Any],
    digit_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    shared = tmp_path / "shared"
    words = [
        "scan",
        str(digit_folder),
        "-o",
        str(tmp_path / "run"),
        "--engine",
        "slurm",
    ]
    called = call(*words, "--shared", shared)
    assert called.code == 0 and "#SBATCH --array=0-8" in called.out
    assert (shared / slurm.SCRIPT).is_file() and not (tmp_path / "run").exists()


def test_a_worker_without_work_ends(call: Callable[..., Any], tmp_path: Path) -> None:
    cache = os.environ["LABELSIEVE_CACHE"]
    called = call("work", tmp_path, "--idle", "0.1", "--json")
    assert os.environ["LABELSIEVE_CACHE"] == cache
    assert called.code == 0 and called.json() == {"shards": 0}


def test_only_the_first_of_several_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.answers()
    monkeypatch.setenv("RANK", "1")
    assert not engines.answers()
