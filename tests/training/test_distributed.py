"""Two processes that train together end where one ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.pictures import WORDS, png
from safetensors.torch import load_file
from torch import nn

from labelsieve.pipeline.scan import scan
from labelsieve.training import distributed
from labelsieve.training.loop import Problem, Recipe, fit

# as close as sums in another order are
TOLERANCE = 1e-5
EXACT = 1e-10  # the same of float64, after several epochs of training


def join(rank: int, count: int, port: int) -> None:
    """Become one of several processes, as torchrun tells it."""
    told = {"RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["LOCAL_RANK"] = "0"
    distributed._join()


def several(count: int, work: Callable[..., None], *words: Any) -> None:
    """`work(..., target)` by processes that train together, each forked from one with PyTorch."""
    # nothing else of torchrun is wanted, and an import takes each of its processes five seconds
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "labelsieve.pipeline.scan"])
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    running = [
        context.Process(target=member, args=(rank, count, port, work, words))
        for rank in range(count)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(timeout=300)
        process.kill()
        assert process.exitcode == 0


def member(
    rank: int, count: int, port: int, work: Callable[..., None], words: Any
) -> None:
    torch.set_num_threads(1)
    if count > 1:
        join(rank, count, port)
    work(*words)
    if count > 1:
        torch.distributed.destroy_process_group()


def fit_alike(target: str) -> None:
    """A loss over whole batches, of which a part counts, with what is remembered of each row."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(37, 12, generator=generator)
    labels = torch.randint(3, (37,), generator=generator)
    tower = nn.Parameter(torch.randn(12, 8, generator=generator) / 4)
    head = nn.Parameter(torch.randn(8, 3, generator=generator) / 4)
    seen = torch.zeros(37)

    def loss_of(batch: Any, loaded: Any) -> torch.Tensor:
        noise = torch.rand(loaded.shape, generator=batch.generator)
        features = distributed.across(
            lambda rows: torch.tanh(rows @ tower), loaded + noise / 9
        )
        # a loss over the whole batch, of which a part counts: no mean of means
        each = nn.functional.cross_entropy(
            features @ head, labels[batch.rows], reduction="none"
        )
        seen[batch.rows] = each.detach()
        counts = each.detach() > 0.9
        return (each * counts).sum() / counts.sum().clamp(min=1)

    problem = Problem(
        {"tower": tower, "head": head},
        torch.arange(37).numpy(),
        lambda rows: pictures[rows],
        loss_of,
        memory={"seen": seen},
    )
    recipe = Recipe(epochs=6, batch_size=10, lr=0.05, optimizer="adamw", clip=1.0)
    fit(problem, recipe, seed=3)
    if distributed.rank() == 0:
        torch.save({"tower": tower.data, "head": head.data, "seen": seen}, target)


def train_in_double(folder: str, target: str) -> None:
    """Training of DeFT, with selection, with 16 digits: `float` is double in this process."""
    from labelsieve.data.dataset import prepare
    from labelsieve.data.load import load
    from labelsieve.features.task import Task
    from labelsieve.methods import deft
    from labelsieve.methods._prompt_training import build, train
    from labelsieve.models.load import load_encoder

    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[assignment,method-assign]
    results = {}
    for optimizer, rate in (("adamw", None), ("sgd", 0.03)):
        with distributed.in_turn():
            encoder = load_encoder("tiny", dtype=torch.float64)
            data = prepare(load(folder), encoder.preprocess).dataset
        settings = deft.Settings(
            tuning="vpt-deep",
            epochs=3,
            warmup_epochs=1,
            batch_size=33,
            residuals=True,
            optimizer=optimizer,
            image_lr=rate,
            text_lr=rate,
        )
        task = Task(data, encoder)
        detector = build(task, settings, 0)
        trained = train(detector, task, settings)
        for name, parameter in detector.parameters().items():
            assert parameter.dtype == torch.float64
            results[f"{optimizer} {name}"] = parameter.detach().clone()
        results[f"{optimizer} p_clean"] = trained.p_clean
        results[f"{optimizer} selected"] = trained.selected.double()
    if distributed.rank() == 0:
        torch.save(results, target)


def together(words: list[str], count: int, **options: Any) -> subprocess.Popen[bytes]:
    """`torchrun`, on free ports of this machine."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    run += [f"--nproc-per-node={count}", *options.pop("more", [])]
    return subprocess.Popen([*run, *words], **options)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sums than of one thread turn over what is selected: that is decided at a half."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_loss_of_the_whole_batch_is_minimised_alike(tmp_path: Path) -> None:
    results = []
    # by three, batches of 10 and 7 cannot be divided evenly
    for count in (1, 3):
        several(count, fit_alike, str(tmp_path / f"of {count}"))
        results.append(torch.load(tmp_path / f"of {count}", weights_only=True))
    one, three = results
    for name, values in one.items():
        assert torch.allclose(values, three[name], rtol=0, atol=TOLERANCE), name
    assert (one["seen"] > 0).all()


MORTAL = r"""
import os, signal
import torch
import torch.distributed as dist
from labelsieve.training.distributed import _join
_join()
# all of them get as far as this in each attempt; then one dies
dist.all_reduce(torch.ones(1))
if os.environ["TORCHELASTIC_RESTART_COUNT"] < "2":
    os.kill(os.getpid(), signal.SIGKILL)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_processes_that_are_started_again_find_one_another(tmp_path: Path) -> None:
    """Not the addresses of the dead: every second restart waited for those, for two hours."""
    script = tmp_path / "mortal.py"
    script.write_text(MORTAL)
    run = together([str(script)], 2, more=["--max-restarts=2"])
    try:
        assert run.wait(timeout=300) == 0
    finally:
        run.kill()


def test_nobody_takes_the_word_of_a_process_that_is_dead() -> None:
    """Where one machine has lost a process and another none, both count restarts differently."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    with ThreadPoolExecutor(3) as pool:

        def started(rank: int) -> Future[str]:
            own = torch.distributed.TCPStore("127.0.0.1", store.port, is_master=False)
            return pool.submit(distributed._attempt, own, rank, 3)

        names = []
        for _ in range(3):
            # the first process comes last: what the others find meanwhile is of the dead
            coming = [started(2), started(1)]
            time.sleep(0.2)
            assert not any(one.done() for one in coming)
            coming.append(started(0))
            found = {one.result(timeout=30) for one in coming}
            assert len(found) == 1
            names += found
    assert len(set(names)) == 3


def test_alone_nothing_is_divided_or_sent() -> None:
    rows = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(distributed.across(lambda part: part * 2, rows), rows * 2)
    parameter = nn.Parameter(rows)
    distributed.average_gradients([parameter])
    assert distributed.size() == 1 and distributed.rank() == 0
    with distributed.joined(Path("run")) as folder:
        assert folder == Path("run")


@pytest.fixture
def small_folder(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """Sixty digits of four classes, every seventh in the wrong folder."""
    images, truth = digits
    rows = np.flatnonzero(truth < 4)[:60]
    for number, row in enumerate(rows):
        folder = tmp_path / "digits" / WORDS[(truth[row] + (number % 7 == 0)) % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:04d}.png").write_bytes(png(images[row]))
    return tmp_path / "digits"


@pytest.fixture
def command(small_folder: Path, tmp_path: Path) -> Callable[[str, str], list[str]]:
    def words(output: str, tuning: str) -> list[str]:
        chosen = ["--model", "tiny", "--tuning", tuning, "--set", "epochs=3"]
        # in bfloat16, which is faster on some processors, sums in another order are far apart
        chosen += ["--precision", "float32"]
        # what is selected is decided at a half, which the last bit of a sum turns over
        chosen += ["--set", "warmup_epochs=3"]
        # Adam makes a step of what is rounding error alone, as it divides by a gradient's size
        for setting in ("optimizer=sgd", "image_lr=0.03", "text_lr=0.03"):
            chosen += ["--set", setting]
        chosen += ["--set", "batch_size=33", "-q", "-o", str(tmp_path / output)]
        return ["scan", str(small_folder), *chosen]

    return words


def alone(call: Any, words: list[str]) -> None:
    """The same command in this process, with one thread as the others have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        done = call(*words)
    finally:
        torch.set_num_threads(before)
    assert done.code == 0, done.err


def learned(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "detector" / "detector.safetensors")


def near(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    """Every tensor within the tolerance, of its largest entry where that is above one."""
    for name, values in one.items():
        far = (values.double() - two[name].double()).abs().max()
        assert far <= TOLERANCE * max(1.0, float(values.double().abs().max())), name


@pytest.mark.slow  # quicker ones show the same: of functions below, of a student, and under Ray
@pytest.mark.parametrize("tuning", ["vpt-deep", "lora"])
def test_two_processes_end_with_the_contexts_of_one(
    command: Any, tmp_path: Path, tuning: str, call: Any
) -> None:
    alone(call, command("one", tuning))
    words = ["-m", "labelsieve", *command("two", tuning)]
    assert together(words, 2).wait(timeout=600) == 0
    one, two = learned(tmp_path / "one"), learned(tmp_path / "two")
    assert one.keys() == two.keys() and any("contexts" in name for name in one)
    near(one, two)


def test_over_epochs_only_rounding_tells_two_processes_from_one(
    small_folder: Path, tmp_path: Path
) -> None:
    """Order, schedule, warm-up and selection are those of one: 3 epochs agree to 10 digits."""
    for count in (1, 2):
        target = str(tmp_path / f"of {count}")
        several(count, train_in_double, str(small_folder), target)
    one, two = (torch.load(tmp_path / f"of {n}", weights_only=True) for n in (1, 2))
    assert one.keys() == two.keys() and len(one) == 10
    for name, values in one.items():
        assert (values - two[name]).abs().max() < EXACT, name
    # labels were selected by what had been learned: neither all nor none
    for optimizer in ("adamw", "sgd"):
        assert 0 < one[f"{optimizer} selected"].mean() < 1


@pytest.mark.parametrize(
    "tune", ["blocks", pytest.param("lora", marks=pytest.mark.slow)]
)
def test_a_student_is_trained_by_two_of_which_one_dies(
    small_folder: Path, tmp_path: Path, tune: str, call: Any
) -> None:
    run = scan(small_folder, output=tmp_path / "run", method="zero-shot", model="tiny")
    words = ["train", str(run.folder), "--set", f"tune={tune}"]
    words += ["--set", "epochs=3", "--set", "keep=last", "--use", "all", "-q"]
    words += ["--precision", "float32"]
    alone(call, [*words, "-o", str(tmp_path / "one")])
    words = ["-m", "labelsieve", *words, "-o", str(tmp_path / "two")]
    run_of_two = together(words, 2, more=["--max-restarts=3"])
    kill_once(run_of_two, tmp_path / "two" / "checkpoints" / "training.safetensors")
    one, two = (
        load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")
    )
    near(one, two)


def kill_once(run: subprocess.Popen[bytes], checkpoint: Path) -> None:
    """Kill one of the processes as soon as an epoch is kept; the others go on with a new one."""
    # torchrun starts all of them again where one has died
    while not checkpoint.exists() and run.poll() is None:
        time.sleep(0.01)
    children = subprocess.run(
        ["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    try:
        assert run.wait(timeout=600) == 0
    finally:
        run.kill()


@pytest.mark.slow
def test_a_killed_process_goes_on_from_the_checkpoint(
    command: Any, tmp_path: Path, call: Any
) -> None:
    alone(call, command("one", "vpt-deep"))
    words = ["-m", "labelsieve", *command("two", "vpt-deep")]
    run = together(words, 2, more=["--max-restarts=3"])
    kill_once(run, tmp_path / "two" / "checkpoints" / "deft.safetensors")
    one, two = learned(tmp_path / "one"), learned(tmp_path / "two")
    near(one, two)
