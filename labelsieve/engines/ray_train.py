"""A Ray cluster whose workers train together: the same command in each, as torchrun starts it.

Where `labelsieve.engines.ray` divides the work on rows, this divides every step of a training
(`labelsieve.training.distributed`). All workers start at once or none does. One that dies, or whose
node is lost, ends the others; all are started again and go on from the checkpoint, which is why
run folder and data have to be on a file system that all nodes see. The cluster may be joined with
--address; without it one is started on this machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelsieve import progress, registry
from labelsieve.engines import Options
from labelsieve.engines.ray import QUIET, _host, _join, _origin
from labelsieve.engines.slurm import without
from labelsieve.errors import OptionError, RunError

WORKERS = 2  # where the user names no number
STARTS = 4  # of all workers: the first, and after deaths
PATIENCE = 120.0  # seconds until a cluster has room for all workers
SETTLED = 30.0  # seconds in which others notice that one has died
# What is said to this program and not to the command of each worker.
OURS = ("--engine", "--workers", "--address", "--gpus-per-worker", "--shard")


def launch(words: list[str], options: Options) -> str:
    """Run a command in several workers that train together, and wait for it.

    Args:
        words: of the command line after "labelsieve", as they were typed.

    Returns:
        What the first worker printed.

    Raises:
        OptionError: there is no cluster, or it has no room for so many workers.
        RunError: the command ends with an error, or workers die again and again.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = registry.need("ray")
    for name in OURS:
        words = without(words, name)
    count = options.workers or WORKERS
    begun = not ray.is_initialized()
    if begun:
        _join(ray, options)
    try:
        with _room(ray, count, options.gpus_per_worker) as room:
            return _until_it_ends(ray, words, room)
    finally:
        if begun:
            ray.shutdown()


@contextlib.contextmanager
def _room(ray: Any, count: int, gpus: float) -> Any:
    """Options of each of several tasks that start at the same time."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    bundle = {"CPU": 1.0, "GPU": gpus} if gpus else {"CPU": 1.0}
    group = ray.util.placement_group([bundle] * count)
    try:
        if not group.wait(PATIENCE):
            raise OptionError(
                f"The cluster has no room for {count} workers at a time.",
                "Take fewer --workers, or add nodes.",
            )
        places = []
        for number in range(count):
            place = PlacementGroupSchedulingStrategy(group, number)
            own = {"num_cpus": 1, "num_gpus": gpus, "scheduling_strategy": place}
            places.append(own)
        yield _Room(group, places)
    finally:
        ray.util.remove_placement_group(group)


@dataclass(frozen=True)
class _Room:
    """Where workers are placed.

    Attributes:
        group: Ray's placement group.
        places: options of the task of each worker.
    """

    group: Any
    places: list[dict[str, Any]]

    def stands(self) -> bool:
        """Whether every worker has its place now."""
        return bool(self.group.wait(1))

    def check(self) -> None:
        """Wait until there is room for all again, after a node was lost.

        Raises:
            RunError: there is none; tasks would wait for it without an end.
        """
        if not self.group.wait(PATIENCE):
            raise RunError(
                f"The cluster has no room any more for {len(self.places)} workers at a time.",
                "What is done is kept: the same command goes on once there are nodes again.",
            )


def _until_it_ends(ray: Any, words: list[str], room: _Room) -> str:
    for start in range(1, STARTS + 1):
        deaths, answers = _together(ray, words, room)
        if not deaths:
            break
        more = "all are started again" if start < STARTS else "that was the last time"
        progress.note(f"Training together: a worker died ({deaths[0]}); {more}.")
    else:
        raise RunError(
            f"Workers that train together died {STARTS} times ({deaths[0]}).",
            "What is done is kept: the same command goes on.",
        )
    for code, _, errors in answers:
        if code:
            last = errors.strip().rpartition("\n")[2] or f"it ended with {code}"
            raise RunError(last.removeprefix("error: "))
    return answers[0][1].rstrip("\n")


def _together(
    ray: Any, words: list[str], room: _Room
) -> tuple[list[str], list[tuple[int, str, str]]]:
    """Start all workers; gives why some died, and of the others code, output and errors."""
    room.check()
    places = room.places
    deaths: list[str] = []
    answers: dict[int, tuple[int, str, str]] = {}
    running: dict[Any, int] = {}
    # a process of its own, which ends with its task: it has joined a group of others
    once = ray.remote(max_calls=1, max_retries=0)
    try:
        # where the first one is, the others meet
        meeting = ray.get(
            once(_free_port).options(**places[0]).remote(), timeout=PATIENCE
        )
        for rank, place in enumerate(places):
            worker = once(carry_out).options(**place)
            group = (rank, len(places), *meeting)
            running[worker.remote(words, group, str(Path.cwd()), _origin())] = rank
        while running:
            # after a death or an error the others have a while to end by themselves
            failed = deaths or any(code for code, *_ in answers.values())
            ready, _ = ray.wait(list(running), num_returns=1, timeout=SETTLED)
            # also where one of them had not begun when its node was lost: the others would wait
            if not ready and not failed and not room.stands():
                failed = True
                deaths.append("its node was lost")
            if not ready and failed:
                break
            if not ready:
                continue
            rank = running.pop(ready[0])
            try:
                answers[rank] = ray.get(ready[0])
            except ray.exceptions.RayError as error:
                deaths.append(f"worker {rank}, {type(error).__name__}")
    except ray.exceptions.RayError as error:
        deaths.append(type(error).__name__)
    finally:
        for left in running:
            ray.cancel(left, force=True)
    return deaths, [answers[rank] for rank in sorted(answers)]


def _free_port() -> tuple[str, int]:
    """Address of this node, and a port that nobody uses."""
    import ray

    with socket.socket() as listening:
        listening.bind(("", 0))
        return ray.util.get_node_ip_address(), listening.getsockname()[1]


def carry_out(
    words: list[str],
    group: tuple[int, int, str, int],
    folder: str,
    origin: tuple[str, str],
) -> tuple[int, str, str]:
    """What runs on a node: the command, told which worker it is; code, output, errors.

    Args:
        group: rank, number of workers, and address and port of the first.
        folder: that the command was typed in.
        origin: machine that asks, and its cache.
    """
    rank, count, address, port = group
    host, cache = origin
    # the index of the pixel cache is no file for several machines
    own = cache if host == _host() else f"{cache}/hosts/{_host()}"
    os.environ.setdefault("LABELSIEVE_CACHE", own)
    # as torchrun says it; Ray shows each worker its own GPU as the first
    told = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": 0, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    os.environ["MASTER_ADDR"] = address
    os.chdir(folder)
    sys.argv = ["labelsieve", *words]
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            # in this process, so that nothing of it is left where Ray ends it
            runpy.run_module("labelsieve", run_name="__main__")
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, output.getvalue(), errors.getvalue()
