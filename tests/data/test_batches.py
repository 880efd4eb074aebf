"""Every row comes once, in order, whatever the size of a batch."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.data.batches import batches


@pytest.mark.parametrize(("rows", "size"), [(0, 3), (1, 3), (3, 3), (7, 3), (7, 100)])
def test_every_row_comes_once_in_order(rows: int, size: int) -> None:
    parts = list(batches(rows, size, "Counting"))
    assert all(len(part) == size for part in parts[:-1])
    assert [int(r) for part in parts for r in part] == list(range(rows))


def test_chosen_rows_keep_their_numbers() -> None:
    chosen = np.array([9, 2, 5, 2])
    parts = list(batches(chosen, 3, "Counting", done=6))
    assert [part.tolist() for part in parts] == [[9, 2, 5], [2]]
