"""The nearest other images of every image, exactly, and what their labels say."""

from __future__ import annotations

import numpy as np
import torch

from labelsieve.errors import DataError

MOST = 300_000  # images; the time grows with their square
CELLS = 16_000_000  # pairs that are compared at once


def nearest(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, m] of the m nearest others, nearest first, and their cosines [n, m] float32; m is at most n - 1.

    Args:
        features: [n, d] of length one.
        count: m.

    Raises:
        DataError: more than `MOST` images: every pair is compared.
    """
    n = len(features)
    if n > MOST:
        raise DataError(
            f"Nearest neighbours of {n:,} images would compare {n * n:.1e} pairs; the limit is {MOST:,} images.",
            "Take a method without neighbours (see: labelsieve methods), or scan the data in parts.",
        )
    inputs = torch.from_numpy(np.array(features, dtype=np.float32))
    found = []
    for rows in torch.arange(n).split(max(1, CELLS // n)):
        cosines = inputs[rows] @ inputs.T
        cosines[
            torch.arange(len(rows)), rows
        ] = -torch.inf  # an image is not its own neighbour
        found.append(cosines.topk(max(1, min(count, n - 1))))
    return np.concatenate([f.indices.numpy() for f in found]), np.concatenate(
        [f.values.numpy() for f in found]
    )


def votes(
    rows: np.ndarray, weights: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """[n, k] sum of the weights [n, m] of the neighbours `rows` [n, m] of each class."""
    n, m = rows.shape
    cells = np.repeat(np.arange(n) * classes, m) + labels[rows].reshape(-1)
    return np.bincount(cells, weights.reshape(-1), n * classes).reshape(n, classes)
