"""The one loop over rows: batches in order, with progress; here, or elsewhere.

Whatever looks at every row once goes through here: reading, features, judging, predicting. What
runs in several processes or on several machines (`labelsieve.engines`) takes over this loop and
nothing else: work that describes itself as a `Job` can be done by anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from labelsieve import progress


@dataclass(frozen=True, eq=False)
class Job:
    """Work on rows in words, for processes that have nothing but the data.

    Attributes:
        kind: of `labelsieve.engines._work`, such as "features".
        key: names the results: everything that decides them.
        facts: what the work needs to know; JSON.
        ids: [n] sample ids of all rows.
        tensors: arrays by name, where the work needs some.
        numbers: [n] int64, what the work calls the rows where chance depends on that; None:
            0 to n - 1.
        whole: rows that are computed together and give other bits in another company; 0: each
            row is worked on by itself.
    """

    kind: str
    key: str
    ids: pa.Array | pa.ChunkedArray
    facts: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Any] = field(default_factory=dict)
    numbers: np.ndarray | None = None
    whole: int = 0


class Elsewhere(Protocol):
    """Others that work on rows."""

    def read(self, source: Any, items: Any) -> Iterator[Any] | None:
        """All items of a source in their order, in batches, hashed by others.

        None where these items are read here (`labelsieve.data.manifest.read`).
        """
        ...

    def know(self, source: Any, items: Any, manifest: pa.Table) -> None:
        """The rows that jobs will name by id, a table of MANIFEST."""
        ...

    def each(
        self, job: Job, rows: np.ndarray, what: str, done: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]] | None:
        """Rows [b] and values [b, ...] in any order, each row once; None: not a job of theirs."""
        ...


_others: list[Elsewhere] = []


@contextmanager
def elsewhere(others: Elsewhere) -> Iterator[None]:
    """Let others work on rows while the block runs."""
    _others.append(others)
    try:
        yield
    finally:
        _others.pop()


def others() -> Elsewhere | None:
    """Those that work on rows now; None where this process does it alone."""
    return _others[-1] if _others else None


def computed(
    rows: int | np.ndarray,
    size: int,
    what: str,
    compute: Callable[[np.ndarray], np.ndarray],
    job: Job | None = None,
    done: int = 0,
    unit: str = "images",
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values of all rows: computed here batch by batch, or elsewhere.

    Args:
        rows, size, what, done, unit: as for `batches`.
        compute: rows [b] -> values [b, ...].
        job: the same in words; None keeps it here.

    Yields:
        Rows [b] and their values [b, ...]; in order here, in any order elsewhere.
    """
    chosen = np.arange(rows) if isinstance(rows, int) else rows
    helpers = others()
    if helpers is not None and job is not None:
        found = helpers.each(job, chosen, what, done)
        if found is not None:
            yield from found
            return
    for part in batches(chosen, size, what, done, unit):
        yield part, compute(part)


def batches(
    rows: int | np.ndarray,
    size: int,
    what: str | None,
    done: int = 0,
    unit: str = "images",
) -> Iterator[np.ndarray]:
    """Row numbers in batches of `size`, in order.

    Args:
        rows: how many rows there are, or which ones, [n] int64.
        what: is done with them, for the progress bar, such as "Computing features"; None
            shows none, for work inside other work that has a bar.
        done: rows that an earlier, interrupted call has done already; they only count.
        unit: what people call the items.

    Yields:
        [b] int64, b = size except in the last batch.
    """
    chosen = np.arange(rows) if isinstance(rows, int) else rows
    parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    if what is None:
        yield from parts
        return
    with progress.bar(what, done + len(chosen), done, unit) as shown:
        for batch in parts:
            yield batch
            # counted when the caller comes back for more: then the batch is done
            shown.advance(len(batch))
