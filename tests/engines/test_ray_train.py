"""Workers of a Ray cluster that train together, one of them killed, end where one process ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.pictures import WORDS, png
from safetensors.numpy import load_file

from labelsieve.data.load import load
from labelsieve.engines import Options, ray_train
from labelsieve.errors import RunError
from labelsieve.pipeline.scan import scan

pytest.importorskip("ray", reason="the extra ray is not installed")
TOLERANCE = 1e-5  # as close as sums in another order are
# Every label is trusted: what is selected is decided at a half, which the last bit turns over.
SETTINGS = {"tuning": "vpt-deep", "epochs": 2, "warmup_epochs": 2, "batch_size": 33}
# Adam makes a step of what is rounding error alone, as it divides by a gradient's size.
SETTINGS |= {"optimizer": "sgd", "image_lr": 0.03, "text_lr": 0.03}


@pytest.fixture
def few(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """Sixty digits of four classes, every seventh in the wrong folder."""
    images, truth = digits
    for number, row in enumerate(np.flatnonzero(truth < 4)[:60]):
        folder = tmp_path / "digits" / WORDS[(truth[row] + (number % 7 == 0)) % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:04d}.png").write_bytes(png(images[row]))
    return tmp_path / "digits"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As workers have it: other numbers of threads add up in other orders."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def worker_in(folder: Path) -> int:
    """A worker of this test, known by the folder that it works in."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes()
            if b"ray::carry_out" in title and (entry / "cwd").resolve() == folder:
                return int(entry.name)
        except OSError:
            continue
    return 0


@pytest.mark.filterwarnings("ignore")  # of Ray, about itself
@pytest.mark.skipif(sys.platform != "linux", reason="processes are known by /proc")
def test_a_killed_worker_is_no_loss(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Ray gives way to everything else, and on a busy machine would never come to its turn
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.chdir(tmp_path)
    killed = []

    def kill() -> None:
        # in the midst of the training: one epoch is kept
        kept = tmp_path / "two" / "checkpoints" / "deft.safetensors"
        while not kept.exists():
            time.sleep(0.01)
        victim = worker_in(tmp_path.resolve())
        killed.append(victim)
        os.kill(victim, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    words = ["scan", str(few), "-o", str(tmp_path / "two"), "--model", "tiny", "-q"]
    # in bfloat16, which is faster on some processors, sums in another order are far apart
    words += ["--precision", "float32"]
    for name, value in SETTINGS.items():
        words += ["--set", f"{name}={value}"]
    told: list[str] = []
    monkeypatch.setattr(ray_train.progress, "note", told.append)
    printed = ray_train.launch([*words, "--workers", "2"], Options(workers=2))
    assert "of 60 labels are probably wrong" in printed
    assert killed and [line for line in told if "are started again" in line]
    with one_thread():
        alone = scan(
            load(str(few)),
            output=tmp_path / "one",
            model="tiny",
            precision="float32",
            settings=SETTINGS,
        )
    one, two = (
        load_file(folder / "detector" / "detector.safetensors")
        for folder in (alone.folder, tmp_path / "two")
    )
    assert one.keys() == two.keys() and any("contexts" in name for name in one)
    for name, values in one.items():
        # whether pictures were mirrored is among them, a bool
        far = np.abs(values.astype(np.float64) - two[name].astype(np.float64))
        size = max(1.0, float(np.abs(values).max(initial=0)))
        assert far.max(initial=0) <= TOLERANCE * size, name


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`answering(...)`: what each start of all workers comes to, without a cluster."""

    def put(*starts: tuple[list[str], list[tuple[int, str, str]]]) -> None:
        left = list(starts)
        monkeypatch.setattr(ray_train, "_together", lambda *_: left.pop(0))

    return put


def test_workers_that_die_again_and_again_are_told(answering: Any) -> None:
    answering(*[(["worker 1, WorkerCrashedError"], [])] * ray_train.STARTS)
    with pytest.raises(
        RunError, match=r"died 4 times \(worker 1, WorkerCrashedError\)"
    ):
        ray_train._until_it_ends(None, [], [])


def test_what_a_worker_refuses_is_told_and_not_tried_again(answering: Any) -> None:
    refused = (2, "", "Reading images\nerror: There is nothing here.\n")
    answering(([], [(0, "done\n", ""), refused]))
    with pytest.raises(RunError, match=r"^There is nothing here\.$"):
        ray_train._until_it_ends(None, [], [])
    answering((["worker 0, NodeDiedError"], []), ([], [(0, "done\n", ""), (0, "", "")]))
    assert ray_train._until_it_ends(None, [], []) == "done"
