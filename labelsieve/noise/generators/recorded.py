"""Recorded noise: labels that people or machines really gave, from another column of the data."""

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
    """[n] -> [n]; needs `recorded`; nothing is drawn, and `rate` is not used."""
    recorded = need(context, "recorded", (len(labels),))
    # numbers of classes index tables further on
    if len(recorded) and (recorded.min() < 0 or recorded.max() >= classes):
        raise OptionError(
            "A recorded label is not a class of the data.",
            "Recorded and true labels must be of one kind.",
        )
    return recorded.astype(np.int64)
