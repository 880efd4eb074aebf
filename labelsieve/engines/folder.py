"""Workers that take shards from a shared folder or bucket, started by whatever starts processes.

`labelsieve work FOLDER` on as many machines as there are: from a Slurm array, a Kubernetes job, or
by hand. They may come and go; a scan without workers waits for the first.

    jobs/KEY            what tasks of a job have in common
    tasks/NAME          a shard to be worked on;   claims/NAME: somebody has it
    alive/NAME          written again and again by who has it
    results/NAME        what became of it
    workers/HOST-PID    written again and again by every worker
    ended               no more work will come
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from labelsieve import progress
from labelsieve.cache import cache_folder
from labelsieve.engines import Options, Outcome, Task
from labelsieve.engines._parts import Parts, open_parts
from labelsieve.engines.processes import ProcessPool
from labelsieve.errors import OptionError
from labelsieve.progress import plain

BEAT = 10.0  # seconds between signs of life
LEASE = 60.0  # seconds without one after which a worker passes for dead
LOOK = 0.5  # seconds between two looks into the folder
FOLDERS = ("tasks", "claims", "alive", "results")
STATES = {state: state for state in ("done", "died", "failed")}  # that a worker tells
TASK = re.compile(r"[0-9]{8,}-[0-9a-f]+")  # name of a task: its number, and the time
# What a file of another version, or a stranger's, raises.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


def open_pool(options: Options) -> FolderPool:
    """Whoever works in the folder.

    Raises:
        OptionError: no folder is named.
    """
    if options.shared is None:
        raise OptionError(
            "--engine folder needs a folder or URL that all workers see.",
            "Name it with --shared, and start workers with: labelsieve work FOLDER.",
        )
    return FolderPool(open_parts(options.shared), options.workers)


class FolderPool:
    """Tasks and results as files."""

    def __init__(self, parts: Parts, workers: int | None) -> None:
        self._parts = parts
        self._workers = workers
        self._tasks: dict[str, Task] = {}  # by the name of its file
        self._jobs: set[str] = set()
        self._given = 0
        self._refuse_others()
        # of a process that was killed, for whom nobody waits any more
        for folder in FOLDERS:
            for path in parts.names(folder):
                parts.remove(path)
        parts.remove("ended")

    def _refuse_others(self) -> None:
        """Raises OptionError where something is somebody else's: it would be removed."""
        named = [path for folder in FOLDERS for path in self._parts.names(folder)]
        others = [path for path in named if not TASK.fullmatch(path.split("/", 1)[1])]
        # a part of ours is sealed, also an empty one
        if self._parts.age("ended") is not None and self._parts.get("ended") != b"":
            others.append("ended")
        if others:
            raise OptionError(
                f"--shared holds '{plain(others[0])}', which no scan made.",
                "Name an empty folder.",
            )

    def size(self) -> int:
        """As `Pool.size`: one more than work now, so that nobody waits for the next."""
        if self._workers is not None:
            return self._workers + 1
        alive = 0
        for name in self._parts.names("workers"):
            age = self._parts.age(name)
            alive += age is not None and age < LEASE
        return alive + 1

    def submit(self, task: Task) -> None:
        """As `Pool.submit`."""
        if task.job not in self._jobs:
            self._parts.put(f"jobs/{task.job}", task.shared)
            self._jobs.add(task.job)
        # another name for every attempt: results of an earlier one are not mistaken for its own
        # by number: the oldest is taken first
        self._given += 1
        name = f"{self._given:08d}-{time.time_ns():x}"
        self._tasks[name] = task
        words = {"name": task.name, "job": task.job, "words": task.words}
        self._parts.put(f"tasks/{name}", _joined(words, task.rows))

    def outcomes(self, seconds: float) -> list[Outcome]:
        """As `Pool.outcomes`."""
        end = time.monotonic() + seconds
        while True:
            found = [*self._results(), *self._dead()]
            if found or time.monotonic() > end:
                return found
            time.sleep(LOOK)

    def _results(self) -> Iterator[Outcome]:
        for path in self._parts.names("results"):
            name = path.rpartition("/")[2]
            data = self._parts.get(path)
            # of somebody who was taken for dead and was only slow
            task = self._tasks.pop(name, None)
            self._clear(name)
            if task is None:
                continue
            try:
                said, result = _parted(data)
                state: Any = STATES[said["state"]]
                seconds = float(said["seconds"])
                yield Outcome(task.name, state, result, str(said["reason"]), seconds)
            # a bit changed on the way, or a worker of another version: nobody else would tell
            except DAMAGED:
                reason = "its result came back damaged"
                yield Outcome(task.name, "failed", reason=reason)

    def _dead(self) -> Iterator[Outcome]:
        for path in self._parts.names("claims"):
            name = path.rpartition("/")[2]
            ages = [self._parts.age(path), self._parts.age(f"alive/{name}")]
            known = [age for age in ages if age is not None]
            if name in self._tasks and known and min(known) > LEASE:
                task = self._tasks.pop(name)
                self._clear(name)
                reason = f"no sign of life for {LEASE:.0f} s"
                yield Outcome(task.name, "died", reason=reason)

    def _clear(self, name: str) -> None:
        # the task first: without its claim somebody would take it again
        for folder in FOLDERS:
            self._parts.remove(f"{folder}/{name}")

    def close(self) -> None:
        """As `Pool.close`: workers end when they have done what they have."""
        with contextlib.suppress(Exception):
            self._parts.put("ended", b"")


def serve(where: str, idle: float) -> int:
    """Work in a folder until its scan has ended; gives how many shards were done.

    Args:
        idle: seconds without work after which a worker ends.
    """
    parts = open_parts(where)
    me = f"workers/{socket.gethostname()}-{os.getpid()}"
    done, since, begun = 0, time.monotonic(), time.time()
    with (
        _own_cache(),
        _beating(parts, me),
        contextlib.closing(ProcessPool(1, [])) as one,
    ):
        while time.monotonic() - since < idle:
            ended = parts.age("ended")
            # of an earlier scan, where a new one is only being started
            if ended is not None and time.time() - ended > begun:
                break
            name = _claimed(parts)
            if name is None:
                time.sleep(LOOK)
                continue
            done += _work_on(parts, name, one)
            since = time.monotonic()
    parts.remove(me)
    return done


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """The index of the pixel cache is no file for several machines: each has its own."""
    before = os.environ.get("LABELSIEVE_CACHE")
    folder = cache_folder() / "hosts" / socket.gethostname()
    os.environ["LABELSIEVE_CACHE"] = str(folder)
    try:
        yield
    finally:
        # who calls this from a program of theirs finds their cache as it was
        if before is None:
            del os.environ["LABELSIEVE_CACHE"]
        else:
            os.environ["LABELSIEVE_CACHE"] = before


def _claimed(parts: Parts) -> str | None:
    """A task that nobody else has."""
    taken = {path.rpartition("/")[2] for path in parts.names("claims")}
    for path in parts.names("tasks"):
        name = path.rpartition("/")[2]
        if name not in taken and parts.claim(f"claims/{name}"):
            return name
    return None


def _work_on(parts: Parts, name: str, one: ProcessPool) -> int:
    """Work on a claimed task; 0 where it is gone.

    In a process of its own: a picture that kills it leaves somebody to say so, and to go on.
    """
    data = parts.get(f"tasks/{name}")
    # gone, or damaged: without a sign of life whoever asked gives it out again
    try:
        words, rows = _parted(data)
        job = str(words["job"])
        # written before the first task that names it
        shared = parts.get(f"jobs/{job}") or b""
        task = Task(str(words["name"]), job, shared, rows, plain(str(words["words"])))
    except DAMAGED:
        return 0
    progress.note(task.words)
    with _beating(parts, f"alive/{name}"):
        one.submit(task)
        found: list[Outcome] = []
        while not found:
            found = one.outcomes(BEAT)
    (outcome,) = found
    said = {
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
    }
    parts.put(f"results/{name}", _joined(said, outcome.result))
    return 1


@contextlib.contextmanager
def _beating(parts: Parts, name: str) -> Iterator[None]:
    """Give signs of life while the block runs."""
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            # a full disk is told by the result
            with contextlib.suppress(Exception):
                parts.put(name, b"")
            over.wait(BEAT)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=BEAT)


def _joined(words: Mapping[str, object], data: bytes) -> bytes:
    """A line of JSON, and bytes."""
    return json.dumps(words).encode() + b"\n" + data


def _parted(data: bytes | None) -> tuple[dict[str, Any], bytes]:
    """The inverse of `_joined`; raises one of `DAMAGED` for anything else."""
    if data is None:
        raise ValueError("there is nothing")
    line, _, rest = data.partition(b"\n")
    words: dict[str, Any] = json.loads(line)
    return words, rest
