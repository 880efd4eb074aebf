"""Workers of a shared folder or bucket, in processes of their own, that come, die and go."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labelsieve.engines import Options, Task, folder
from labelsieve.engines._parts import open_parts, sealed
from labelsieve.errors import OptionError

from .conftest import same

Together = Callable[..., tuple[Any, Any]]


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    started = []

    def begin(shared: Path) -> subprocess.Popen[bytes]:
        words = ["-m", "labelsieve", "work", str(shared), "--idle", "60", "-q"]
        started.append(subprocess.Popen([sys.executable, *words]))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_workers_of_a_folder_end_with_the_bytes_of_one(
    together: Together,
    alone: Any,
    tmp_path: Path,
    start: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = tmp_path / "shared"
    # a worker that was killed passes for dead a moment later
    monkeypatch.setattr(folder, "LEASE", 12.0)
    workers = [start(shared), start(shared)]
    first = folder.FolderPool.outcomes

    def outcomes(self: Any, seconds: float) -> Any:
        found = first(self, seconds)
        # one of them is killed as soon as it has something
        if workers[0].poll() is None and self._parts.names("claims"):
            workers[0].kill()
        return found

    monkeypatch.setattr(folder.FolderPool, "outcomes", outcomes)
    done, _ = together("folder", shared=str(shared), workers=None)
    same(alone, done)
    # the scan has ended, and so has who worked for it
    assert workers[1].wait(timeout=30) == 0


# `labelsieve work`, in which a decoder crashes as soon as it reads one picture
POISONED = """
import os, signal, sys
import pyarrow as pa
from labelsieve.engines import folder, processes

shared, victim = sys.argv[1:]
take = processes._Worker.take

def taken(self, task):
    rows = pa.ipc.open_stream(task.rows).read_all()["path"].to_pylist()
    kills = "Reading" in task.words and victim in rows
    if kills:
        # it must not be done before it is killed
        os.kill(self.process.pid, signal.SIGSTOP)
    take(self, task)
    if kills:
        os.kill(self.process.pid, signal.SIGKILL)

processes._Worker.take = taken
if __name__ == "__main__":
    folder.serve(shared, idle=60)
"""


def test_a_picture_that_kills_the_only_worker_is_listed(
    together: Together, folder: Path, tmp_path: Path
) -> None:
    victim = sorted((folder / "three").glob("*.png"))[5].relative_to(folder).as_posix()
    program, shared = tmp_path / "poisoned.py", tmp_path / "shared"
    program.write_text(POISONED)
    words = [sys.executable, str(program), str(shared), victim]
    with subprocess.Popen(words) as worker:
        try:
            done, workers = together("folder", shared=str(shared), workers=None)
        except BaseException:
            worker.kill()
            raise
    lost = [row for row in done.manifest.to_pylist() if row["status"] == "corrupt"]
    reasons = {row["path"]: row["reason"] for row in lost}
    assert set(reasons) == {victim, "one/broken.png"}
    assert reasons[victim] == "every process that reads it is killed"
    assert len(done.scores) == 301 and workers.tally.lost == 1
    # the same worker, to the end
    assert worker.returncode == 0


def test_a_worker_without_a_sign_of_life_passes_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LEASE", 0.2)
    pool = folder.open_pool(Options(shared=str(tmp_path)))
    pool.submit(Task("shard", "job", b"shared", b"rows", "rows 0 to 9"))
    parts = open_parts(tmp_path)
    name = folder._claimed(parts)
    assert name is not None
    # nobody else gets it
    assert folder._claimed(parts) is None
    time.sleep(0.3)
    (outcome,) = pool.outcomes(5)
    assert (outcome.name, outcome.state) == ("shard", "died")
    assert not parts.names("tasks") and not parts.names("claims")


def test_without_a_folder_it_says_what_to_name() -> None:
    with pytest.raises(OptionError, match="--shared"):
        folder.open_pool(Options())


@pytest.mark.parametrize(
    "hurt", [lambda data: data[:-1], lambda _: sealed(b"{}\n"), lambda _: sealed(b"x")]
)
def test_a_result_that_came_back_damaged_is_asked_for_again(
    hurt: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    pool = folder.open_pool(Options(shared=str(tmp_path)))
    pool.submit(Task("shard", "job", b"shared", b"rows", "rows 0 to 9"))
    parts = open_parts(tmp_path)
    (name,) = parts.names("tasks")
    said = {"state": "done", "reason": "", "seconds": 1.0}
    parts.put(name.replace("tasks", "results"), folder._joined(said, b"result"))
    file = tmp_path / name.replace("tasks", "results")
    file.write_bytes(hurt(file.read_bytes()))
    (outcome,) = pool.outcomes(5)
    # nobody else would ever tell of it, and the scan would wait
    assert (outcome.name, outcome.state) == ("shard", "failed")
    assert "damaged" in outcome.reason


@pytest.mark.parametrize("task", [b"", b"x", b"[]\n", b'{"job": "j"}\nrows'])
def test_a_worker_does_not_end_with_a_task_that_is_damaged(
    task: bytes, tmp_path: Path
) -> None:
    parts = open_parts(tmp_path)
    parts.put("tasks/1", task)
    assert folder.serve(str(tmp_path), idle=0.1) == 0
    assert not parts.names("results")


@pytest.mark.parametrize("was_shared", [False, True])
@pytest.mark.parametrize("name", ["results/thesis.txt", "tasks/a/b", "ended"])
def test_files_of_somebody_else_are_not_cleared_away(
    name: str, was_shared: bool, tmp_path: Path
) -> None:
    if was_shared:
        folder.open_pool(Options(shared=str(tmp_path)))
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(OptionError, match=f"'{name}', which no scan made"):
        folder.open_pool(Options(shared=str(tmp_path)))
    assert mine.read_text() == "mine"


def test_what_is_hidden_in_a_shared_folder_stays(tmp_path: Path) -> None:
    mine = tmp_path / "results" / ".notes"
    mine.parent.mkdir()
    mine.write_text("mine")
    folder.open_pool(Options(shared=str(tmp_path)))
    assert mine.read_text() == "mine"


def test_tasks_of_a_scan_that_was_killed_are_cleared_away(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    folder.open_pool(Options(shared=str(shared))).submit(
        Task("shard", "job", b"shared", b"rows", "rows 0 to 9")
    )
    folder.open_pool(Options(shared=str(shared)))
    assert not open_parts(shared).names("tasks")
