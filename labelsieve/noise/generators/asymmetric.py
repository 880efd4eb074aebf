"""Asymmetric noise: with probability `rate` a label becomes the class its own is taken for.

Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach", CVPR 2017, section 4: for CIFAR-10 truck -> automobile, bird -> airplane,
deer -> horse, cat <-> dog. Classes that are taken for no other stay as they are, so the
realised rate is the share of the others times `rate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.errors import OptionError
from labelsieve.noise.generators import check, need

# The pairs of the paper; the default where the data have these classes.
CIFAR10 = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}


def corrupt(
    labels: np.ndarray,
    classes: int,
    rate: float,
    rng: np.random.Generator,
    context: Any = None,
) -> np.ndarray:
    """[n] -> [n]; needs `targets`."""
    check(rate, classes)
    targets = need(context, "targets", (classes,))
    if (targets == np.arange(classes)).any() or targets.max() >= classes:
        raise OptionError(
            "The map sends a class to itself or to an unknown class.",
            "Name another class for it.",
        )
    other = targets[labels]
    return np.where((rng.random(len(labels)) < rate) & (other >= 0), other, labels)
