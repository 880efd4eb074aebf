"""Symmetric noise: with probability `rate` a label becomes another class, each equally likely."""

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
    """[n] -> [n]; never the same class where it is replaced, so nominal and expected rate agree.

    Raises:
        OptionError: the rate is no probability, or there is no other class.
    """
    check(rate, classes)
    flip = rng.random(len(labels)) < rate
    # a step of 1 to k - 1 round the circle of classes never comes back to where it began
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(flip, other, labels)
