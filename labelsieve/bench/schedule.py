"""Running steps: each in a process of its own, as many at once as asked for or as memory and cores allow.

Ends cleanly however it ends: every process watches its standard input, which closes with this one.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from labelsieve import progress
from labelsieve.bench.steps import Step
from labelsieve.errors import OptionError, RunError

PAUSE = 0.05  # seconds between looks at what has ended
PATIENCE = 10.0  # seconds that a process has to end by itself
UNKNOWN_MIB = 2048.0  # taken for a step of a tower of which nothing has been measured
TRAINING = 3.0  # a scan may need so many times what reading features took, until one has been measured
HEADROOM = 1.2  # over what was measured
GROUP = Path("/sys/fs/cgroup")  # of this process, in a container
SHARE = 0.9  # of the memory that is free at the start


def run(
    steps: Sequence[Step], jobs: int, memory: float = float("inf")
) -> dict[Step, dict[str, Any]]:
    """Run what is not done yet.

    Args:
        steps: what a step needs comes before it.
        jobs, memory: what `limits` gives.

    Returns:
        Of every step its result: state "done", "failed" with a message, or "skipped" with the message of what it needs.
    """
    return _Schedule(steps, jobs, memory).run()


def limits(jobs: str) -> tuple[int, float]:
    """Processes at once, and the MiB that all of them may take: as many as asked for, or "auto".

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
    return (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )


def free_mib() -> float:
    """Memory that can be had, MiB: of the machine, and of the control group this process is in."""
    found = [float("inf")]
    machine = Path("/proc/meminfo")
    if machine.exists():
        lines = dict(
            line.split(":", 1)
            for line in machine.read_text().splitlines()
            if ":" in line
        )
        found.append(int(lines["MemAvailable"].split()[0]) / 1024)
    if (GROUP / "memory.max").exists() and (
        limit := (GROUP / "memory.max").read_text().strip()
    ) != "max":
        found.append((int(limit) - int((GROUP / "memory.current").read_text())) / 2**20)
    return min(found)


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """While the block runs, no other bench works in this folder. Raises RunError where one does."""
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"Another bench works in '{output}'.",
                "Wait for it, or choose another folder with -o.",
            ) from error
        yield


class _Schedule:
    """What waits, what runs, and what came out."""

    def __init__(self, steps: Sequence[Step], jobs: int, memory: float) -> None:
        self.jobs, self.memory = jobs, memory
        self.results: dict[Step, dict[str, Any]] = {
            s: s.result() or {} for s in steps if s.done()
        }
        self.waiting = [
            s for s in steps if s not in self.results and self._is_wanted(s, steps)
        ]
        self.threads = max(
            1,
            cores() // max(1, min(jobs, sum(s.cell is not None for s in self.waiting))),
        )
        self.running: dict[Step, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def _is_wanted(self, step: Step, steps: Sequence[Step]) -> bool:
        """A cell, or what a cell needs that is not done."""
        return step.cell is not None or any(
            step in all_needs(s) for s in steps if s.cell and s not in self.results
        )

    def run(self) -> dict[Step, dict[str, Any]]:
        done = sum(s.cell is not None for s in self.results)
        total = done + sum(s.cell is not None for s in self.waiting)
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
        """Steps that cannot run, with why."""
        skipped = []
        for step in list(self.waiting):
            needs = [self.results[n] for n in step.needs if n in self.results]
            bad = next((r for r in needs if r["state"] != "done"), None)
            if bad is not None:
                self.waiting.remove(step)
                skipped.append((step, {"state": "skipped", "message": bad["message"]}))
            elif len(needs) == len(step.needs) and self._fits(step):
                self.waiting.remove(step)
                self._start(step)
        return skipped

    def _fits(self, step: Step) -> bool:
        if not self.running:
            return True
        taken = sum(self._estimate(s) for s in self.running)
        return (
            len(self.running) < self.jobs
            and taken + self._estimate(step) <= self.memory
            and not self._on_accelerator()
        )

    def _on_accelerator(self) -> bool:
        """There the memory is not looked at, so `auto` runs one at a time."""
        return self.memory < float("inf") and any(
            r.get("device", "cpu") != "cpu" for r in self.results.values()
        )

    def _estimate(self, step: Step) -> float:
        """MiB: the most that finished cells of the same tower and method took, else of the same tower."""
        cells = [
            s
            for s in self.results
            if s.cell and s.tower == step.tower and "peak_mib" in self.results[s]
        ]
        same = [
            s
            for s in cells
            if step.cell and s.cell and s.cell.method == step.cell.method
        ]
        if cells:
            return HEADROOM * max(
                float(self.results[s]["peak_mib"]) for s in same or cells
            )
        read = [
            float(r["peak_mib"])
            for s, r in self.results.items()
            if s.tower == step.tower and "peak_mib" in r
        ]
        return TRAINING * max(read) if read and step.cell else UNKNOWN_MIB

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
        self.running[step] = (process, log)

    def _environment(self) -> Mapping[str, str]:
        asked = os.environ.get("OMP_NUM_THREADS", "")
        threads = (
            min(self.threads, int(asked))
            if asked.isdecimal() and int(asked)
            else self.threads
        )
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return {
            **os.environ,
            **dict.fromkeys(names, str(threads)),
            "PYTHONUNBUFFERED": "1",
        }

    def _ended(self) -> list[tuple[Step, dict[str, Any]]]:
        """Steps that have ended since the last look, with their results."""
        found = []
        for step, (process, log) in list(self.running.items()):
            if process.poll() is not None:
                del self.running[step]
                _close(process, log)
                found.append(
                    (step, step.result() or _crashed(step, process.returncode))
                )
        return found

    def _stop(self) -> None:
        for process, log in self.running.values():
            _close(process, log)
        for process, _ in self.running.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def all_needs(step: Step) -> set[Step]:
    """What a step needs, and what that needs."""
    return {*step.needs, *(n for need in step.needs for n in all_needs(need))}


def _close(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    log.close()


def _crashed(step: Step, code: int) -> dict[str, Any]:
    """The result of a step that left none: what its log says last."""
    lines = (
        (step.folder / "log.txt")
        .read_text(encoding="utf-8", errors="replace")
        .strip()
        .splitlines()
    )
    why = (
        f"killed by signal {-code}; is there enough memory?"
        if code < 0
        else (lines or ["it ended without a word"])[-1]
    )
    return {"state": "failed", "message": f"{why} (see '{step.folder / 'log.txt'}')"}
