"""Running steps: each in a process of its own, as many at once as memory and cores allow.

Ends cleanly however it ends: every process watches its standard input, which closes with this
one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from labelsieve import progress
from labelsieve.bench.steps import Step
from labelsieve.errors import OptionError, RunError

Results = dict[Step, dict[str, Any]]

PAUSE = 0.05  # seconds between looks at what has ended
PATIENCE = 10.0  # seconds that a process has to end by itself
UNKNOWN_MIB = 2048.0  # taken for a step of a tower of which nothing has been measured
# A scan may need so many times what reading features took, until one has been measured.
TRAINING = 3.0
HEADROOM = 1.2  # over what was measured
SHARE = 0.9  # of the memory that is free at the start
MIB = 2**20  # bytes
GROUP = Path("/sys/fs/cgroup")  # of this process, in a container
MEMORY = Path("/proc/meminfo")  # of a Linux machine
# What the numeric libraries read their number of threads from.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(steps: Sequence[Step], jobs: int, memory: float = float("inf")) -> Results:
    """Run what is not done yet.

    Args:
        steps: what a step needs comes before it.
        jobs, memory: what `limits` gives.

    Returns:
        Of every step its result: state "done", "failed" with a message, or "skipped" with
        the message of what it needs.
    """
    return _Schedule(steps, jobs, memory).run()


def limits(jobs: str) -> tuple[int, float]:
    """Processes at once, and the MiB that all of them may take: as asked for, or "auto".

    Raises:
        OptionError: jobs is no such number.
    """
    if jobs == "auto":
        return cores(), SHARE * free_mib()
    if not (jobs.isdecimal() and int(jobs) > 0):
        raise OptionError(
            f"--jobs '{jobs}' cannot be used.", "Give a number from 1 on, or auto."
        )
    return int(jobs), float("inf")


def cores() -> int:
    """Processor cores that this process may use."""
    # Linux alone says which ones; elsewhere all of the machine's
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_mib() -> float:
    """Memory that can be had, MiB: of the machine, and of the control group this process is in.

    Infinite where the system does not say: then only the number of processes is limited.
    """
    return min(_free_of_machine(), _free_of_group())


def _free_of_machine() -> float:
    if not MEMORY.exists():  # macOS, Windows
        return float("inf")
    for line in MEMORY.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) / 1024  # of KiB
    return float("inf")


def _free_of_group() -> float:
    limit = GROUP / "memory.max"
    if not limit.exists() or limit.read_text().strip() == "max":
        return float("inf")
    used = int((GROUP / "memory.current").read_text())
    return (int(limit.read_text()) - used) / MIB


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """While the block runs, no other bench works in this folder.

    Raises:
        RunError: one does.
    """
    lock = FileLock(output / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(
            f"Another bench works in '{output}'.",
            "Wait for it, or choose another folder with -o.",
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def close(self) -> None:
        """Let it end: its standard input ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.log.close()


class _Schedule:
    """What waits, what runs, and what came out."""

    def __init__(self, steps: Sequence[Step], jobs: int, memory: float) -> None:
        self.jobs = jobs
        self.memory = memory
        self.results: Results = {}
        for step in steps:
            if step.done():
                self.results[step] = step.result() or {}
        self.waiting = self._wanted(steps)
        # cells share the cores; what they need beforehand is short
        at_once = max(1, min(jobs, _cells(self.waiting)))
        self.threads = max(1, cores() // at_once)
        self.running: dict[Step, _Running] = {}

    def _wanted(self, steps: Sequence[Step]) -> list[Step]:
        """Cells that are not done, and what they need that is not done, in the given order."""
        wanted: set[Step] = set()
        for step in steps:
            if step.cell is not None and step not in self.results:
                wanted |= {step, *all_needs(step)}
        return [step for step in steps if step in wanted and step not in self.results]

    def run(self) -> Results:
        done = _cells(self.results)
        total = done + _cells(self.waiting)
        try:
            with progress.bar("Cells", total, done, "cells") as shown:
                while self.waiting or self.running:
                    for step, result in (*self._start_what_fits(), *self._ended()):
                        self.results[step] = result
                        if step.cell is not None:
                            shown.advance(1, " ".join(step.cell.names().values()))
                    time.sleep(PAUSE)
        finally:
            self._stop()
        return self.results

    def _start_what_fits(self) -> list[tuple[Step, dict[str, Any]]]:
        """Start steps; gives those that cannot run, with why."""
        skipped = []
        for step in list(self.waiting):
            needs = [self.results[n] for n in step.needs if n in self.results]
            # one failure is enough; its message says why the others cannot run
            bad = next((r for r in needs if r["state"] != "done"), None)
            if bad is not None:
                self.waiting.remove(step)
                skipped.append((step, {"state": "skipped", "message": bad["message"]}))
            elif len(needs) == len(step.needs) and self._fits(step):
                self.waiting.remove(step)
                self._start(step)
        return skipped

    def _fits(self, step: Step) -> bool:
        if not self.running:  # alone, everything may try
            return True
        taken = sum(map(self._estimate, self.running))
        return (
            len(self.running) < self.jobs
            and taken + self._estimate(step) <= self.memory
            and not self._on_accelerator()
        )

    def _on_accelerator(self) -> bool:
        """There the memory is not looked at, so `auto` runs one at a time."""
        if self.memory == float("inf"):
            return False
        return any(r.get("device", "cpu") != "cpu" for r in self.results.values())

    def _estimate(self, step: Step) -> float:
        """MiB: the most that finished cells of the same tower and method took.

        Where there is none yet, of the same tower; else a guess from reading its features.
        """
        of_tower: list[float] = []
        of_method: list[float] = []
        reading: list[float] = []
        for other, result in self.results.items():
            if other.tower != step.tower or "peak_mib" not in result:
                continue
            peak = float(result["peak_mib"])
            reading.append(peak)
            if other.cell is not None:
                of_tower.append(peak)
                if step.cell is not None and other.cell.method == step.cell.method:
                    of_method.append(peak)
        if of_tower:
            return HEADROOM * max(of_method or of_tower)
        return TRAINING * max(reading) if reading and step.cell else UNKNOWN_MIB

    def _start(self, step: Step) -> None:
        step.prepare()
        log = (step.folder / "log.txt").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "labelsieve.bench.worker", str(step.folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C is this process's to answer
        )
        self.running[step] = _Running(process, log)

    def _environment(self) -> Mapping[str, str]:
        threads = self.threads
        limit = os.environ.get("OMP_NUM_THREADS", "")
        if limit.isdecimal() and int(limit):
            threads = min(threads, int(limit))
        # unbuffered, so that the log of a process that is killed holds its last words
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        return environment | dict.fromkeys(THREADS, str(threads))

    def _ended(self) -> list[tuple[Step, dict[str, Any]]]:
        """Steps that have ended since the last look, with their results."""
        ended = []
        for step, running in list(self.running.items()):
            code = running.process.poll()
            if code is not None:
                del self.running[step]
                running.close()
                ended.append((step, step.result() or _crashed(step, code)))
        return ended

    def _stop(self) -> None:
        # all are told before any is waited for
        for running in self.running.values():
            running.close()
        for running in self.running.values():
            try:
                running.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def _cells(steps: Iterator[Step] | Sequence[Step] | Mapping[Step, Any]) -> int:
    return sum(step.cell is not None for step in steps)


def all_needs(step: Step) -> set[Step]:
    """What a step needs, and what that needs."""
    needs = set(step.needs)
    for need in step.needs:
        needs |= all_needs(need)
    return needs


def _crashed(step: Step, code: int) -> dict[str, Any]:
    """The result of a step that left none: what its log says last."""
    log = step.folder / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    words = [line for line in lines if line.strip()]
    why = words[-1] if words else "it ended without a word"
    if code < 0:
        why = f"killed by signal {-code}; is there enough memory?"
    return {"state": "failed", "message": f"{why} (see '{log}')"}
