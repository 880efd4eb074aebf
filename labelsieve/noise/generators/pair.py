"""Pair noise: with probability `rate` a label becomes the next class, and the last class becomes the first."""

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
    """[n] -> [n] (Han et al., NeurIPS 2018; "asymmetric" noise of CIFAR-100 in much of the literature)."""
    check(rate, classes)
    return np.where(rng.random(len(labels)) < rate, (labels + 1) % classes, labels)
