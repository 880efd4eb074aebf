"""Where the work on rows is done, other than in this process: one way per file.

A file of this room offers:

    open_pool(options: Options) -> Pool      raises OptionError where it cannot work

or, where it starts the whole command somewhere else, and whether it waits for it or not,

    launch(words: list[str], options: Options) -> str      what to tell the user

A pool is given tasks and says what became of them. It guarantees nothing: a task may be done
twice, its worker may die, its node may be lost. That each row comes out exactly once is the
matter of `labelsieve.engines._shards`, the same for all engines: fixed shards over the rows,
results named by shard and content and written whole or not at all, a merge that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["done", "died", "failed"]


@dataclass(frozen=True)
class Options:
    """How many work, and where.

    Attributes:
        workers: at a time; None takes what there is.
        gpus_per_worker: GPUs, or a share of one, that each worker has for itself.
        address: of a Ray cluster: "auto", "ray://host:port" or "host:port"; None starts one here.
        shared: folder or URL that all workers see, for engine `folder`.
        shard: rows of one task, a multiple of 256.
    """

    workers: int | None = None
    gpus_per_worker: float = 0.0
    address: str | None = None
    shared: str | None = None
    shard: int = 1024


@dataclass(frozen=True)
class Task:
    """One shard to be worked on, in bytes that every process understands.

    Attributes:
        name: of the shard and its content; the name of its result.
        job: names `shared`, which many tasks have in common.
        shared: what `labelsieve.engines._work.prepare` takes.
        rows: its rows, an Arrow stream.
        words: for people: which rows of what.
    """

    name: str
    job: str
    shared: bytes
    rows: bytes
    words: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        state: "done"; "died", the process or the machine that worked on it; "failed", it said why.
        result: bytes of the result, where it is done.
        reason: what is wrong, in a clause.
        seconds: that its worker took. processor: seconds of its processor.
    """

    name: str
    state: State
    result: bytes = b""
    reason: str = ""
    seconds: float = 0.0
    processor: float = 0.0


class Pool(Protocol):
    """Workers under way."""

    def size(self) -> int:
        """How many tasks are worked on at a time, now."""
        ...

    def submit(self, task: Task) -> None:
        """Give a task away. The same task may be given away again."""
        ...

    def outcomes(self, seconds: float) -> list[Outcome]:
        """What has become known, after waiting for at most so many seconds."""
        ...

    def close(self) -> None:
        """End all workers, whatever they do."""
        ...
