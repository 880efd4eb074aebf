"""Several processes that train one model together, as `torchrun` starts them: plain data parallel.

Every process does everything alike, with the same seeds, on the same batches; only what is
expensive, the tower, is divided: each passes its rows through it, and all get the rows of all, in
their places (`across`). So losses, selection and what is remembered of each image are those of one
process, nothing is padded, and batches need not be divisible. Gradients are averaged; those that
went through divided rows are scaled by the number of processes, so that the mean is their sum.

The first process writes; the others work in folders that are thrown away.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.errors import OptionError

PATIENCE = timedelta(hours=2)  # one may compute features while the others wait
FINISHED = "finished"
FIRST = (
    "labelsieve/first"  # under this the first process says what it calls the attempt
)
LOOK = 0.05  # seconds between two looks whether it has


def size() -> int:
    """How many processes train together; 1: this one alone."""
    known = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if known else 1


def rank() -> int:
    """The number of this process among them; 0 writes."""
    return dist.get_rank() if size() > 1 else 0


def is_asked_for() -> bool:
    """Whether `torchrun` has started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


@contextlib.contextmanager
def joined(output: Path) -> Iterator[Path | None]:
    """Train together while the block runs, where `torchrun` asks for that.

    Args:
        output: the folder of the command.

    Yields:
        Where this process writes; None where the first one has nothing left to do.

    Raises:
        OptionError: the others cannot be reached.
    """
    if not is_asked_for() or size() > 1:
        yield output
        return
    _join()
    try:
        # the others begin where the first one goes on
        files = _from_first(_unfinished(output))
        if rank() == 0:
            yield output
        elif files is None:
            yield None
        else:
            progress.be_quiet()
            with tempfile.TemporaryDirectory(prefix="labelsieve-") as scratch:
                folder = Path(scratch) / "work"
                _write(folder, files)
                yield folder
    finally:
        dist.destroy_process_group()


def _join() -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group(backend, timeout=PATIENCE, **_meeting())
    except (RuntimeError, ValueError) as error:
        raise OptionError(
            f"The other processes cannot be reached: {error}.",
            "Start them all with torchrun.",
        ) from error


def _meeting() -> dict[str, Any]:
    """Where the processes of this attempt find one another; empty: where PyTorch says.

    `torchrun` keeps one store through all restarts, in which the addresses of processes that died
    still stand. PyTorch takes those for new ones, and after every second restart everybody waits
    for an answer from nobody. Names of one attempt are found by no other.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # PyTorch documents both stores, its stubs export neither
    stores: Any = dist
    shared = stores.TCPStore(host, port, is_master=False, timeout=PATIENCE)
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    attempt = _attempt(shared, rank, count)
    store = stores.PrefixStore(f"labelsieve/{attempt}", shared)
    return {"store": store, "rank": rank, "world_size": count}


def _attempt(store: Any, rank: int, count: int) -> str:
    """A name that the processes of one attempt have in common, and that no other attempt had.

    Not torchrun's number of restarts: on each machine that counts only what died there. The first
    process makes the name up and tells in it whom it has met, so that nobody takes the word of one
    that is dead.

    Args:
        store: shared by all processes of all attempts.

    Raises:
        RuntimeError: the others do not come.
    """
    own = uuid4().hex
    if rank == 0:
        store.set(FIRST, own)
        met = [store.get(f"{own}/{other}").decode() for other in range(1, count)]
        store.set(f"{own}/met", " ".join(met))
        return own
    end = time.monotonic() + PATIENCE.total_seconds()
    while time.monotonic() < end:
        name = store.get(FIRST).decode()
        store.set(f"{name}/{rank}", own)
        known = f"{name}/met"
        # of an earlier attempt it names others
        if store.check([known]) and own in store.get(known).decode().split():
            return name
        time.sleep(LOOK)
    raise RuntimeError("no word of the first process")


def _unfinished(output: Path) -> dict[str, bytes] | None:
    """Records and checkpoints of work under way; None where it is finished."""
    files = {}
    for file in [*output.glob("*.json"), *output.glob("checkpoints/*")]:
        if file.is_file():
            files[file.relative_to(output).as_posix()] = file.read_bytes()
    records = [files.get(name, b"") for name in ("run.json", "training.json")]
    done = any(f'"state": "{FINISHED}"'.encode() in record for record in records)
    return None if done else files


def _from_first(value: Any) -> Any:
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """First one process, then the others: what it leaves in the cache they find there."""
    if size() == 1:
        yield
        return
    if rank() > 0:
        dist.barrier()
    yield
    if rank() == 0:
        dist.barrier()


_whole: list[bool] = []


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Let each process compute all rows while the block runs: what looks on sees every one."""
    _whole.append(True)
    try:
        yield
    finally:
        _whole.pop()


def across(work: Callable[[Any], Tensor], rows: Any) -> Tensor:
    """What `work` gives for rows [b, ...], each of which one process computes.

    Args:
        work: of each row by itself: [m, ...] -> [m, ...].

    Returns:
        [b, ...], the same in every process, with gradient.
    """
    # before len(): an exporter would take the number of rows of its example for a constant
    if size() == 1 or _whole:
        return work(rows)
    own, count = rank(), len(rows)
    # with fewer rows than processes one would have none
    if count < size():
        return work(rows)
    bounds = [count * number // size() for number in range(size() + 1)]
    part = work(rows[bounds[own] : bounds[own + 1]])
    gathered: Tensor = _Gathered.apply(part, bounds[own], count)  # type: ignore[no-untyped-call]
    return gathered


class _Gathered(torch.autograd.Function):
    """Rows of all processes in their places; the gradient goes back to who computed a row."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, start: int, count: int) -> Tensor:
        ctx.rows = slice(start, start + len(part))
        everything = part.new_zeros((count, *part.shape[1:]))
        everything[ctx.rows] = part
        # zeros of the others: the sum is exact
        dist.all_reduce(everything)
        return everything

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # averaged with those of the others, who computed other rows
        return gradient[ctx.rows] * size(), None, None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean gradient of all processes, in place; the same bits in each of them."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    # one message for all
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
