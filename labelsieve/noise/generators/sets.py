"""Noise of sets: each label is dropped with probability `rate`, and others are put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelsieve.errors import OptionError
from labelsieve.noise.generators import check

LABELS = "set"  # a plain word, which is read without importing this file


def corrupt(
    labels: np.ndarray,
    classes: int,
    rate: float,
    rng: np.random.Generator,
    context: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """[n, k] bool -> [n, k] bool, each label by itself; takes `added`, which is 0 without it.

    Raises:
        OptionError: the rate is no probability, `added` is more than fits in, or there is no
            other class.
    """
    check(rate, classes)
    chance = _chance(labels, float((context or {}).get("added") or 0.0))
    left_out = rng.random(labels.shape) < rate
    put_in = rng.random(labels.shape) < chance
    noisy: np.ndarray = np.where(labels, ~left_out, put_in)
    return noisy


def _chance(labels: np.ndarray, added: float) -> float:
    """Of each label that is not there; so that as many come in as are asked for."""
    there = int(labels.sum())
    room = labels.size - there
    # `not` also refuses what is no number
    if not 0 <= added * there <= room:
        raise OptionError(
            f"{added:g} added labels for each that is there are impossible: {there:,} are "
            f"there, {room:,} could be.",
            "Give a smaller --added, from 0 on.",
        )
    return added * there / max(room, 1)
