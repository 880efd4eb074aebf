"""Class-conditional noise: a label is drawn from its class's row of a given matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.errors import OptionError
from labelsieve.noise.generators import need


def corrupt(
    labels: np.ndarray,
    classes: int,
    rate: float,
    rng: np.random.Generator,
    context: Any = None,
) -> np.ndarray:
    """[n] -> [n]; needs `matrix`, which decides the rate; `rate` is not used.

    Raises:
        OptionError: the matrix is missing, of another size, or its rows are no distributions.
    """
    matrix = need(context, "matrix", (classes, classes)).astype(np.float64)
    sums = matrix.sum(1)
    # files round shares, so rows that sum to nearly one are rescaled below
    if (matrix < 0).any() or not np.allclose(sums, 1, atol=1e-3):
        row = int(np.abs(sums - 1).argmax())
        raise OptionError(
            f"Row {row} of the matrix sums to {sums[row]:.4g}.",
            "Rows are the true class and sum to one.",
        )
    drawn = rng.random(len(labels))
    noisy = labels.copy()
    for label in np.unique(labels):
        own = labels == label
        # inverse transform sampling; the last class takes what rounding leaves
        edges = np.cumsum(matrix[label] / sums[label])[:-1]
        noisy[own] = np.searchsorted(edges, drawn[own], side="right")
    return noisy
