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
    if (matrix < 0).any() or not np.allclose(sums, 1, atol=1e-3):
        row = int(np.abs(sums - 1).argmax())
        raise OptionError(
            f"Row {row} of the matrix sums to {sums[row]:.4g}.",
            "Rows are the true class and sum to one.",
        )
    drawn, noisy = rng.random(len(labels)), labels.copy()
    for label in np.unique(labels):
        own = labels == label
        edges = np.cumsum(matrix[label] / sums[label])[
            :-1
        ]  # the last class takes what is left
        noisy[own] = np.searchsorted(edges, drawn[own], side="right")
    return noisy
