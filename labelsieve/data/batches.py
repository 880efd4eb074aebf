"""The one loop over rows: batches in order, with progress.

Whatever looks at every row once goes through here: features, judging, predicting. What runs
on several machines replaces this loop and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelsieve import progress


def batches(
    rows: int | np.ndarray, size: int, what: str | None, done: int = 0
) -> Iterator[np.ndarray]:
    """Row numbers in batches of `size`, in order.

    Args:
        rows: how many rows there are, or which ones, [n] int64.
        what: is done with them, for the progress bar, such as "Computing features"; None
            shows none, for work inside other work that has a bar.
        done: rows that an earlier, interrupted call has done already; they only count.

    Yields:
        [b] int64, b = size except in the last batch.
    """
    chosen = np.arange(rows) if isinstance(rows, int) else rows
    parts = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    if what is None:
        yield from parts
        return
    with progress.bar(what, done + len(chosen), done) as shown:
        for batch in parts:
            yield batch
            # counted when the caller comes back for more: then the batch is done
            shown.advance(len(batch))
