"""Pair noise: with probability `rate` a label becomes the next class, the last one the first."""

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
    """[n] -> [n] (Han et al., NeurIPS 2018; much of the literature calls it asymmetric)."""
    check(rate, classes)
    # one draw a label, whether it flips or not: a higher rate flips the same labels and more
    return np.where(rng.random(len(labels)) < rate, (labels + 1) % classes, labels)
