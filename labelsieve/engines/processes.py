"""Several processes on this machine, for its cores or its GPUs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from multiprocessing.connection import Connection, wait
from typing import Any

from labelsieve import progress
from labelsieve.data.manifest import cores
from labelsieve.engines import Options, Outcome, Task
from labelsieve.errors import OptionError

# Processes that are forked from one that has imported everything start within a moment, also in
# the place of one that was killed; elsewhere each imports for itself.
IMPORTS = [
    "labelsieve.engines._work",
    "labelsieve.models.families.clip",
    "transformers.models.clip.modeling_clip",
]
METHOD = "spawn" if sys.platform in ("win32", "darwin") else "forkserver"


def open_pool(options: Options) -> ProcessPool:
    """As many as there are GPUs or cores, unless told otherwise.

    Raises:
        OptionError: there are no GPUs.
    """
    gpus = []
    if options.gpus_per_worker:
        gpus = _gpus(options.gpus_per_worker)
    count = options.workers or len(gpus) or cores()
    if gpus and count > len(gpus):
        raise OptionError(
            f"{count} workers with {options.gpus_per_worker:g} GPUs each do not fit here.",
            f"There is room for {len(gpus)}.",
        )
    return ProcessPool(count, gpus)


def _gpus(share: float) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for each worker that there is room for."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = (
        named.split(",") if named else list(map(str, range(torch.cuda.device_count())))
    )
    if not torch.cuda.is_available() or not every:
        raise OptionError(
            "--gpus-per-worker needs a GPU, and torch sees none.", "Leave it out."
        )
    if share < 1:
        # several workers on one GPU, the first of each GPU before the second of any
        return every * int(1 / share)
    size = int(share)
    groups = [every[start : start + size] for start in range(0, len(every), size)]
    return [",".join(group) for group in groups if len(group) == size]


class ProcessPool:
    """Worker processes that are replaced when they die."""

    def __init__(self, count: int, gpus: list[str]) -> None:
        self._context: Any = multiprocessing.get_context(METHOD)
        if METHOD == "forkserver":
            self._context.set_forkserver_preload(IMPORTS)
        # all cores for each of them would be too many threads
        self._threads = max(1, cores() // count)
        self._workers = [self._start(gpus[at : at + 1]) for at in range(count)]
        self._waiting: deque[Task] = deque()

    def size(self) -> int:
        """As `Pool.size`."""
        return len(self._workers)

    def submit(self, task: Task) -> None:
        """As `Pool.submit`."""
        # one for each worker at a time: what waits here is lost with nobody
        self._waiting.append(task)
        self._give_out()

    def _give_out(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.task is None:
                worker.take(self._waiting.popleft())

    def outcomes(self, seconds: float) -> list[Outcome]:
        """As `Pool.outcomes`."""
        # a process that has died closes its end, too
        ready = wait([worker.channel for worker in self._workers], seconds)
        found = []
        for at, worker in enumerate(self._workers):
            if worker.channel in ready:
                outcome = worker.answer()
                if outcome is None:
                    self._workers[at] = self._start(worker.gpu)
                    outcome = worker.death()
                if outcome is not None:
                    found.append(outcome)
        self._give_out()
        return found

    def close(self) -> None:
        """As `Pool.close`."""
        for worker in self._workers:
            worker.end()

    def _start(self, gpu: list[str]) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(there, gpu, self._threads), daemon=True
        )
        process.start()
        there.close()
        return _Worker(process, here, gpu)


class _Worker:
    """One process, and the task that it has."""

    def __init__(self, process: Any, channel: Connection, gpu: list[str]) -> None:
        self.process = process
        self.channel = channel
        self.gpu = gpu
        self.task: Task | None = None

    def take(self, task: Task) -> None:
        self.task = task
        # one that has died since is noticed when it is listened to
        with contextlib.suppress(OSError):
            self.channel.send(task)

    def answer(self) -> Outcome | None:
        """What it says; None where it has died."""
        try:
            outcome: Outcome = self.channel.recv()
        except (EOFError, OSError):
            return None
        self.task = None
        return outcome

    def death(self) -> Outcome | None:
        """What became of its task."""
        self.process.join()
        code = self.process.exitcode or 0
        reason = f"it ended with {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                reason = f"killed by {signal.Signals(-code).name}"
        self.channel.close()
        if self.task is None:
            return None
        return Outcome(self.task.name, "died", reason=reason)

    def end(self) -> None:
        # not asked to end: what it does is done again, or by nobody
        self.process.kill()
        self.process.join()
        self.channel.close()


def _serve(channel: Connection, gpu: list[str], threads: int) -> None:
    """The life of a worker process: tasks in, outcomes out."""
    # Control-C goes to the process that asked, which ends the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu:
        # before torch looks for GPUs
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu[0]
    import torch

    from labelsieve.engines._work import attempt

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    progress.be_quiet(True)
    while True:
        try:
            task = channel.recv()
        except (EOFError, OSError):
            return
        # who asked may be gone by now
        with contextlib.suppress(BrokenPipeError):
            channel.send(attempt(task))
