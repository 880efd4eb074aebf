"""A command that is killed at any time ends, when it is given again, in the very bits of one
that was left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from labelsieve.cli import app
from labelsieve.pipeline.scan import scan
from labelsieve.training import checkpoint as training_checkpoint_module

# Processes are forked from one that has imported everything, so that a kill hits the work
# and not the imports.
FORKED = multiprocessing.get_context("forkserver")
PATIENCE = 300.0  # seconds
Results = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def forkserver() -> Iterator[None]:
    FORKED.set_forkserver_preload(
        [
            "labelsieve.cli",
            "labelsieve.classifiers.train",
            "labelsieve.methods.deft",
            "transformers.models.clip",
        ]
    )
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # a process with threads cannot be forked safely
    )
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before


class Work:
    """One command with an output folder and a cache of its own."""

    files: tuple[str, ...]  # what it writes
    checkpoint: str
    record = "run.json"
    seconds = training_checkpoint_module.SECONDS_BETWEEN_CHECKPOINTS

    def __init__(
        self, folder: Path, command: str, data: Path, settings: list[str]
    ) -> None:
        self.output = folder / "output"
        self.cache = folder / "cache"
        self.log = folder / "stderr.txt"
        sets = [word for setting in settings for word in ("--set", setting)]
        self.words = [
            "labelsieve",
            command,
            str(data),
            "-o",
            str(self.output),
            "--json",
            *sets,
        ]
        folder.mkdir()

    def start(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The command as a process of its own."""
        monkeypatch.setattr(sys, "argv", self.words)
        process = FORKED.Process(
            target=_command_line, args=(str(self.cache), str(self.log), self.seconds)
        )
        process.start()
        return process

    def to_the_end(self, monkeypatch: pytest.MonkeyPatch) -> Results:
        """What it gives when nothing stops it."""
        process = self.start(monkeypatch)
        process.join(PATIENCE)
        assert process.exitcode == 0, self.log.read_text()
        assert not (self.output / "checkpoints").exists()
        assert not list(self.output.rglob("*.partial*"))
        return self.results()

    def results(self) -> Results:
        """All that it gives, without times, paths and versions."""
        return {
            **{name: (self.output / name).read_bytes() for name in self.files},
            "told": self.told(),
        }

    def told(self) -> dict[str, Any]:
        raise NotImplementedError

    def steps_done(self) -> int:
        """Training steps in the checkpoint."""
        path = self.output / "checkpoints" / self.checkpoint
        if not path.exists():
            return 0
        with safe_open(path, framework="np") as file:
            return int(json.loads(file.metadata()["labelsieve"])["done"])

    def is_finished(self) -> bool:
        """Whether the last word was written; what is left of its checkpoints is nothing then."""
        file = self.output / self.record
        return file.exists() and json.loads(file.read_text()).get("state") == "finished"

    def is_reading(self) -> bool:
        return any(self.cache.glob("pixels*/index.sqlite"))


class Scan(Work):
    files = (
        "scores.csv",
        "scores.parquet",
        "probs.parquet",
        "manifest.parquet",
        "noise.json",
        "detector/detector.safetensors",
    )
    checkpoint = "deft.safetensors"

    def __init__(self, folder: Path, pictures: Path) -> None:
        super().__init__(folder, "scan", pictures, ["epochs=2", "batch_size=16"])

    def told(self) -> dict[str, Any]:
        record = json.loads((self.output / "run.json").read_text())
        names = (
            "state",
            "data_fingerprint",
            "noise_rate",
            "flagged",
            "scored",
            "confused_pairs",
        )
        return {name: record[name] for name in names}

    def stages(self) -> dict[str, Callable[[], bool]]:
        return {
            "reading": self.is_reading,
            "features": lambda: (
                any(self.cache.glob("features/*.npy"))
                or any(self.cache.glob("features/.*"))
            ),
            "second-epoch": lambda: self.steps_done() >= 4,
            "scoring": lambda: self.steps_done() >= 8,
            "writing": lambda: (self.output / "noise.json").exists(),
        }


class Train(Work):
    """Every step is kept that takes long enough, not only each epoch."""

    files = (
        "model.safetensors",
        "last/model.safetensors",
        "samples.parquet",
        "config.json",
        "README.md",
    )
    checkpoint = "training.safetensors"
    record = "training.json"
    seconds = 0.0

    def __init__(self, folder: Path, run: Path) -> None:
        settings = ["epochs=4", "batch_size=4", "lr=0.01", "val_share=0.2", "keep=both"]
        super().__init__(folder, "train", run, settings)
        self.words += ["--use", "all"]

    def told(self) -> dict[str, Any]:
        record = json.loads((self.output / "training.json").read_text())
        return {
            name: record[name] for name in ("state", "identity", "samples", "figures")
        }

    def stages(self) -> dict[str, Callable[[], bool]]:
        return {
            "reading": self.is_reading,
            "first-steps": lambda: self.steps_done() >= 1,
            "choosing": lambda: (
                self.output / "checkpoints" / "chosen.safetensors"
            ).exists(),
            "third-epoch": lambda: self.steps_done() >= 26,
            "saving": lambda: (self.output / "last" / "model.safetensors").exists(),
        }


def _command_line(cache: str, log: str, seconds: float) -> None:
    """In the forked process."""
    os.environ["LABELSIEVE_CACHE"] = cache
    training_checkpoint_module.SECONDS_BETWEEN_CHECKPOINTS = seconds
    with open(log, "w") as err, open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = nowhere, err
        app.main()


@pytest.fixture(scope="module")
def pictures(
    tmp_path_factory: pytest.TempPathFactory, digits: Any, encode: Callable[..., bytes]
) -> Path:
    """Sixty digits of three classes."""
    folder = tmp_path_factory.mktemp("pictures")
    images, truth = digits
    for name, k in (("zero", 0), ("one", 1), ("two", 2)):
        (folder / name).mkdir()
        for row in np.flatnonzero(truth == k)[:20]:
            (folder / name / f"{row}.png").write_bytes(encode(images[row]))
    return folder


@pytest.fixture(scope="module", params=["scan", "train"])
def make(
    request: Any, tmp_path_factory: pytest.TempPathFactory, pictures: Path
) -> Callable[[Path], Work]:
    """Folder -> the command that works there, scan or train."""
    if request.param == "scan":
        return lambda folder: Scan(folder, pictures)
    run = tmp_path_factory.mktemp("scanned") / "run"
    scan(pictures, output=run, preset="fast", settings={"epochs": 1})
    return lambda folder: Train(folder, run)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], Work]
) -> Results:
    work = make(tmp_path_factory.mktemp("left-alone") / "a")
    with pytest.MonkeyPatch.context() as patch:
        return work.to_the_end(patch)


def wait_for(process: Any, reached: Callable[[], bool]) -> bool:
    """Whether the process got there before its end."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.is_alive():
        if reached():
            return True
        time.sleep(0.005)
    return False


def test_killed_at_every_stage_it_ends_in_the_same_bits(
    tmp_path: Path,
    make: Callable[[Path], Work],
    undisturbed: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(7)
    work = make(tmp_path / "killed")
    hit, kept = [], 0
    for stage in work.stages():
        process = work.start(monkeypatch)
        if wait_for(process, work.stages()[stage]):
            time.sleep(draw.random() * 0.05)
            process.kill()
        process.join(PATIENCE)
        assert process.exitcode in (0, -signal.SIGKILL), work.log.read_text()
        if (
            process.exitcode == 0 or work.is_finished()
        ):  # on a busy machine a stage is over before the signal comes
            assert work.results() == undisturbed
            work, kept = make(tmp_path / stage), 0
            continue
        hit.append(stage)
        assert work.steps_done() >= kept, "what was done is never lost"
        kept = work.steps_done()
    assert len(hit) >= 2, f"only killed {hit}"
    assert work.to_the_end(monkeypatch) == undisturbed


def test_killed_at_random_times_it_ends_in_the_same_bits(
    tmp_path: Path,
    make: Callable[[Path], Work],
    undisturbed: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(11)
    work = make(tmp_path / "killed")
    for _ in range(4):
        process = work.start(monkeypatch)
        process.join(draw.uniform(0.05, 1.5))
        process.kill()
        process.join(PATIENCE)
    assert work.to_the_end(monkeypatch) == undisturbed


def test_control_c_says_that_the_same_command_continues(
    tmp_path: Path,
    make: Callable[[Path], Work],
    undisturbed: Results,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = make(tmp_path / "stopped")
    process = work.start(monkeypatch)
    assert wait_for(process, lambda: work.steps_done() >= 4), work.log.read_text()
    os.kill(process.pid, signal.SIGINT)
    process.join(PATIENCE)
    if process.exitcode == 0:
        pytest.skip(
            "the machine is so busy that the command ended before it was interrupted"
        )
    assert process.exitcode == 130
    lines = work.log.read_text().splitlines()
    assert lines[-1] == "Interrupted. The same command continues."
    assert not any("Traceback" in line for line in lines)
    assert work.steps_done() >= 4
    assert work.to_the_end(monkeypatch) == undisturbed
