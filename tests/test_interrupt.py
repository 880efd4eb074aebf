"""A scan that is killed at any time ends, with the same command, in the very bits of one that was left alone."""

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

from labelsieve import cli

# Processes are forked from one that has imported everything, so that a kill hits the work and not the imports.
FORKED = multiprocessing.get_context("forkserver")
PATIENCE = 300.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def forkserver() -> Iterator[None]:
    FORKED.set_forkserver_preload(
        ["labelsieve.cli", "labelsieve.pipeline", "labelsieve.methods.deft", "transformers.models.clip"]
    )
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot be forked safely
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before


class Place:
    """Where one scan of the same sixty pictures works: a run folder and a cache of its own."""

    def __init__(self, folder: Path, pictures: Path) -> None:
        self.run, self.cache, self.log = folder / "run", folder / "cache", folder / "stderr.txt"
        settings = ["--set", "epochs=2", "--set", "batch_size=16"]
        self.words = ["labelsieve", "scan", str(pictures), "-o", str(self.run), "--json", *settings]
        folder.mkdir()

    def start(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The command as a process of its own."""
        monkeypatch.setattr(sys, "argv", self.words)
        process = FORKED.Process(target=_command_line, args=(str(self.cache), str(self.log)))
        process.start()
        return process

    def results(self) -> dict[str, bytes | dict[str, Any]]:
        """All that a scan gives, without times, places and versions."""
        names = (
            "scores.csv",
            "scores.parquet",
            "probs.parquet",
            "manifest.parquet",
            "noise.json",
            "detector/detector.safetensors",
        )
        record = json.loads((self.run / "run.json").read_text())
        told = {
            k: record[k] for k in ("state", "data_fingerprint", "noise_rate", "flagged", "scored", "confused_pairs")
        }
        return {**{name: (self.run / name).read_bytes() for name in names}, "told": told}


def _command_line(cache: str, log: str) -> None:
    """In the forked process."""
    os.environ["LABELSIEVE_CACHE"] = cache
    with open(log, "w") as err, open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = nowhere, err
        cli.main()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, digits: Any, encode: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    images, truth = digits
    for name, k in (("zero", 0), ("one", 1), ("two", 2)):
        (folder / name).mkdir()
        for row in np.flatnonzero(truth == k)[:20]:
            (folder / name / f"{row}.png").write_bytes(encode(images[row]))
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> dict[str, Any]:
    place = Place(tmp_path_factory.mktemp("left-alone") / "a", pictures)
    with pytest.MonkeyPatch.context() as patch:
        process = place.start(patch)
        process.join(PATIENCE)
    assert process.exitcode == 0, place.log.read_text()
    return place.results()


def wait_for(process: Any, reached: Callable[[], bool]) -> bool:
    """Whether the process got there before its end."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.is_alive():
        if reached():
            return True
        time.sleep(0.005)
    return False


def steps_done(run: Path) -> int:
    """Training steps in the checkpoint."""
    path = run / "checkpoints" / "deft.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, framework="np") as file:
        return int(json.loads(file.metadata()["labelsieve"])["done"])


def at_reading(place: Place) -> bool:
    return any(place.cache.glob("pixels*/index.sqlite"))


def at_features(place: Place) -> bool:
    return any(place.cache.glob("features/*.npy")) or any(place.cache.glob("features/.*"))


def at_second_epoch(place: Place) -> bool:
    return steps_done(place.run) >= 4


def at_scoring(place: Place) -> bool:
    return steps_done(place.run) >= 8


def at_writing(place: Place) -> bool:
    return (place.run / "noise.json").exists()


STAGES = [at_reading, at_features, at_second_epoch, at_scoring, at_writing]


def test_killed_at_every_stage_it_ends_in_the_same_bits(
    tmp_path: Path, pictures: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(7)
    place = Place(tmp_path / "killed", pictures)
    hit, kept = [], 0
    for stage in STAGES:
        process = place.start(monkeypatch)
        if wait_for(process, lambda stage=stage, place=place: stage(place)):  # type: ignore[misc]
            time.sleep(draw.random() * 0.05)
            process.kill()
        process.join(PATIENCE)
        assert process.exitcode in (0, -signal.SIGKILL), place.log.read_text()
        if process.exitcode == 0:  # on a busy machine a short stage is over before the signal comes
            assert place.results() == undisturbed
            place, kept = Place(tmp_path / stage.__name__, pictures), 0
            continue
        hit.append(stage.__name__)
        assert steps_done(place.run) >= kept, "what was done is never lost"
        kept = steps_done(place.run)
    assert len(hit) >= 2, f"only killed {hit}"
    process = place.start(monkeypatch)
    process.join(PATIENCE)
    assert process.exitcode == 0, place.log.read_text()
    assert place.results() == undisturbed
    assert not (place.run / "checkpoints").exists() and not list(place.run.rglob("*.partial"))


def test_killed_at_random_times_it_ends_in_the_same_bits(
    tmp_path: Path, pictures: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(11)
    place = Place(tmp_path / "killed", pictures)
    for _ in range(4):
        process = place.start(monkeypatch)
        process.join(draw.uniform(0.05, 1.5))
        process.kill()
        process.join(PATIENCE)
    process = place.start(monkeypatch)
    process.join(PATIENCE)
    assert process.exitcode == 0, place.log.read_text()
    assert place.results() == undisturbed


def test_control_c_says_that_the_same_command_continues(
    tmp_path: Path, pictures: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path / "stopped", pictures)
    process = place.start(monkeypatch)
    assert wait_for(process, lambda: at_second_epoch(place)), place.log.read_text()
    os.kill(process.pid, signal.SIGINT)
    process.join(PATIENCE)
    if process.exitcode == 0:
        pytest.skip("the machine is so busy that the scan ended before it was interrupted")
    assert process.exitcode == 130
    said = place.log.read_text().splitlines()
    assert said[-1] == "Interrupted. The same command continues."
    assert not any("Traceback" in line for line in said)
    assert steps_done(place.run) >= 4
    process = place.start(monkeypatch)
    process.join(PATIENCE)
    assert process.exitcode == 0 and place.results() == undisturbed
