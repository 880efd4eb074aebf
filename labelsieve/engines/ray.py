"""A Ray cluster: one task per shard, on whichever nodes there are.

Ray places tasks and moves bytes; it guarantees nothing that is relied on. A node may come or go at
any time. Every node needs labelsieve and the data at the same place; results come back to the
process that asked, so that no folder need be shared. Nodes keep pixels in a cache of their own.
"""

from __future__ import annotations

import os
import time
from typing import Any

from labelsieve import registry
from labelsieve.cache import cache_folder
from labelsieve.engines import Options, Outcome, Task
from labelsieve.errors import OptionError

# Ray would send figures of its use to its makers.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def open_pool(options: Options) -> RayPool:
    """Join a cluster, or start one on this machine.

    Raises:
        OptionError: there is no cluster at the address, or it has not what workers need.
        MissingExtra: Ray is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = registry.need("ray")
    begun = not ray.is_initialized()
    if begun:
        _join(ray, options)
    gpus = options.gpus_per_worker
    have = ray.cluster_resources().get("GPU", 0.0)
    if have < gpus:
        raise OptionError(
            f"--gpus-per-worker {gpus:g}: the cluster has {have:g} GPUs.",
            "Leave it out, or join a cluster with --address.",
        )
    return RayPool(ray, options, ends=begun)


def _join(ray: Any, options: Options) -> None:
    words: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    if options.address is None:
        # one more than workers: a cluster whose last core is taken cannot answer
        words["num_cpus"] = options.workers
    else:
        words = {"address": options.address, "log_to_driver": False}
    try:
        ray.init(logging_level="error", **words)
    # one type for each way in which a cluster cannot be reached
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        first = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"No Ray cluster at --address {options.address}: {first}.",
            "Start one with: ray start --head. Without --address one is started here.",
        ) from error


class RayPool:
    """Tasks of a cluster."""

    def __init__(self, ray: Any, options: Options, *, ends: bool) -> None:
        self._ray = ray
        self._options = options
        self._ends = ends
        self._work = _remote(ray, options.gpus_per_worker)
        self._running: dict[Any, Task] = {}
        self._jobs: dict[
            str, Any
        ] = {}  # bytes that many tasks share, sent once to each node
        self._size = 0
        self._looked = 0.0

    def size(self) -> int:
        """As `Pool.size`: nodes come and go."""
        if self._options.workers is not None:
            return self._options.workers
        now = time.monotonic()
        # asking takes milliseconds, and shards seconds
        if not self._size or now - self._looked > 5:
            have = self._ray.cluster_resources()
            gpus = self._options.gpus_per_worker
            fitting = have.get("GPU", 0) / gpus if gpus else have.get("CPU", 1)
            self._size, self._looked = max(1, int(fitting)), now
        return self._size

    def submit(self, task: Task) -> None:
        """As `Pool.submit`."""
        if task.job not in self._jobs:
            self._jobs[task.job] = self._ray.put(task.shared)
        words = (task.name, task.job, task.rows, task.words)
        ref = self._work.remote(words, self._jobs[task.job], _origin())
        self._running[ref] = task

    def outcomes(self, seconds: float) -> list[Outcome]:
        """As `Pool.outcomes`."""
        if not self._running:
            return []
        refs = list(self._running)
        # after the first, whatever else is there already
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [self._outcome(ref, self._running.pop(ref)) for ref in ready]

    def _outcome(self, ref: Any, task: Task) -> Outcome:
        try:
            return Outcome(*self._ray.get(ref))
        except self._ray.exceptions.RayTaskError as error:
            # of the worker's Python: labelsieve is missing there, or of another version
            return Outcome(
                task.name, "failed", reason=str(error).strip().splitlines()[-1]
            )
        except self._ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: worker or node lost"
            return Outcome(task.name, "died", reason=reason)

    def close(self) -> None:
        """As `Pool.close`; a cluster that was there before stays."""
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        self._running.clear()
        if self._ends:
            self._ray.shutdown()


def _origin() -> tuple[str, str]:
    """This machine, and its cache."""
    return _host(), str(cache_folder())


def _host() -> str:
    import socket

    return socket.gethostname()


def _remote(ray: Any, gpus: float) -> Any:
    # retried by us: Ray would give a shard that kills its worker out again and again
    options = {"max_retries": 0, "num_cpus": 1, "num_gpus": gpus}
    # by SPREAD one node would not get all shards while others wait
    return ray.remote(scheduling_strategy="SPREAD", **options)(carry_out)


def carry_out(
    words: tuple[str, str, bytes, str], shared: bytes, origin: tuple[str, str]
) -> tuple[Any, ...]:
    """What runs on a node: a task, in plain types, and its outcome likewise."""
    from labelsieve import progress
    from labelsieve.engines._work import attempt

    progress.be_quiet(True)
    host, cache = origin
    # the index of the pixel cache is no file for several machines
    own = cache if host == _host() else f"{cache}/hosts/{_host()}"
    os.environ.setdefault("LABELSIEVE_CACHE", own)
    name, job, rows, about = words
    done = attempt(Task(name, job, shared, rows, about))
    told = (done.reason, done.seconds, done.processor)
    return done.name, done.state, done.result, *told
