"""Symmetric noise that may redraw the true class: labels are drawn anew among all classes.

As in the code of DeFT, DivideMix and others: with probability `rate` each. The realised rate is
rate (k - 1) / k: nominal 20 % are 18 % of 10 classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.noise.generators import check


def corrupt(
    labels: np.ndarray,
    classes: int,
    rate: float,
    rng: np.random.Generator,
    context: Any = None,
) -> np.ndarray:
    """[n] -> [n]; some of the replaced labels are what they were."""
    check(rate, classes)
    # drawn for all labels, so that the draws do not depend on how many are replaced
    redraw = rng.random(len(labels)) < rate
    return np.where(redraw, rng.integers(0, classes, len(labels)), labels)
