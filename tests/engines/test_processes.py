"""Several processes: the bytes of one process, whatever happens to them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labelsieve.engines import Options, Outcome, Task, processes
from labelsieve.errors import OptionError

from .conftest import holds, same

Together = Callable[..., tuple[Any, Any]]


def test_two_processes_end_with_the_bytes_of_one(
    together: Together, alone: Any
) -> None:
    done, workers = together("processes")
    same(alone, done)
    # two shards each of reading, features and looks
    assert workers.tally.shards == 6
    assert (workers.tally.again, workers.tally.lost) == (0, 0)
    # what is finished needs nobody, and ends
    again, workers = together("processes")
    same(alone, again)
    assert workers._pool is None


def test_a_killed_worker_is_replaced(
    together: Together, alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_now_and_then(monkeypatch, every=2)
    done, workers = together("processes")
    same(alone, done)
    assert workers.tally.again >= 3


def kill_now_and_then(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    """Kill the process that was given each second task, at once."""
    given = [0]
    take = processes._Worker.take

    def taken(self: Any, task: Task) -> None:
        take(self, task)
        given[0] += 1
        if given[0] % every == 0:
            os.kill(self.process.pid, signal.SIGKILL)

    monkeypatch.setattr(processes._Worker, "take", taken)


def test_a_picture_that_kills_every_worker_is_listed(
    together: Together, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = sorted((folder / "three").glob("*.png"))[5].relative_to(folder).as_posix()
    take = processes._Worker.take

    def taken(self: Any, task: Task) -> None:
        # what a decoder that crashes does, to whoever reads this picture
        kills = "Reading" in task.words and holds(task.rows, victim)
        if kills:
            # it must not be done before it is killed
            os.kill(self.process.pid, signal.SIGSTOP)
        take(self, task)
        if kills:
            os.kill(self.process.pid, signal.SIGKILL)

    monkeypatch.setattr(processes._Worker, "take", taken)
    done, workers = together("processes")
    lost = [row for row in done.manifest.to_pylist() if row["status"] == "corrupt"]
    assert {row["path"] for row in lost} == {victim, "one/broken.png"}
    reasons = {row["path"]: row["reason"] for row in lost}
    assert reasons[victim] == "every process that reads it is killed"
    assert len(done.scores) == 301 and workers.tally.lost == 1


def test_what_a_worker_says_of_a_full_disk_ends_the_scan(
    together: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelsieve.errors import DataError

    def failing(self: Any, seconds: float) -> list[Outcome]:
        # as `_work.attempt` tells an OSError
        tasks = [worker.task for worker in self._workers if worker.task]
        for worker in self._workers:
            worker.task = None
        self._give_out()
        reason = "[Errno 28] No space left on device"
        return [Outcome(task.name, "failed", reason=reason) for task in tasks]

    monkeypatch.setattr(processes.ProcessPool, "outcomes", failing)
    with pytest.raises(DataError, match=r"rows 0 to 255: .*No space left on device"):
        together("processes")


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(OptionError, match="torch sees none"):
        processes.open_pool(Options(gpus_per_worker=1.0))
