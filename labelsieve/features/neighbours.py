"""The nearest other images of every image, exactly, and how their labels vote."""

from __future__ import annotations

import numpy as np
import torch

from labelsieve.errors import DataError

MOST = 300_000  # images; the time grows with their square
CELLS = 16_000_000  # cosines that are held at once: 64 MB


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, m] int64 of the m nearest others, nearest first, and their cosines [n, m] float32.

    Args:
        features: [n, d] of length one.
        count: m, which is cut to n - 1.

    Raises:
        DataError: more than `MOST` images: every pair is compared.
    """
    n = len(features)
    if n > MOST:
        raise DataError(
            f"Nearest neighbours of {n:,} images would compare {n * n:.1e} pairs; "
            f"the limit is {MOST:,} images.",
            "Take a method without neighbours (see: labelsieve methods), "
            "or scan the data in parts.",
        )
    # a copy: torch.from_numpy warns about arrays that are mapped read-only
    inputs = torch.from_numpy(np.array(features, dtype=np.float32))
    indices = []
    values = []
    for rows in torch.arange(n).split(max(1, CELLS // n)):
        cosines = inputs[rows] @ inputs.T
        # an image is not its own neighbour
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        top = cosines.topk(max(1, min(count, n - 1)))
        indices.append(top.indices.numpy())
        values.append(top.values.numpy())
    return np.concatenate(indices), np.concatenate(values)


def votes(
    rows: np.ndarray, weights: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """[n, k] sum of the weights [n, m] of the neighbours `rows` [n, m] of each class."""
    n, m = rows.shape
    # one bincount over the cells of [n, k] is much faster than np.add.at
    cells = np.repeat(np.arange(n) * classes, m) + labels[rows].reshape(-1)
    return np.bincount(cells, weights.reshape(-1), n * classes).reshape(n, classes)


def set_votes(rows: np.ndarray, weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    """[n, k] as `votes`, where each neighbour votes for all classes of its set [n, k] bool."""
    total = np.zeros(given.shape)
    # neighbour by neighbour: all at once would be an array [n, m, k]
    for place in range(rows.shape[1]):
        total += weights[:, place, None] * given[rows[:, place]]
    return total
