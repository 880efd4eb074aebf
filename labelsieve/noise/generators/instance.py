"""Instance-dependent noise: which class a label becomes depends on the picture.

The generator of Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label
Noise", NeurIPS 2020 (code xiaoboxia/Part-dependent-label-noise), that DeFT's tables use:

    q_i ~ N(rate, 0.1²) cut to [0, 1],   W ~ N(0, 1) [k, s, k],   a_i = x_i W[y_i] without class y_i
    label ~ (1 - q_i) at y_i and q_i softmax(a_i) elsewhere

What it does: whether a label flips does not depend on the picture; the softmax is nearly
always one class. Raw pixels from 0 to 255, as DeFT gives it, send most flips of a class to one
target, close to pair noise; with the mean picture taken off (`centre`) targets differ from
picture to picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelsieve.noise.generators import check, need

SPREAD = 0.1  # standard deviation of q, as in the authors' code


def corrupt(
    labels: np.ndarray,
    classes: int,
    rate: float,
    rng: np.random.Generator,
    context: Any = None,
) -> np.ndarray:
    """[n] -> [n]; needs `pixels`, and takes `centre`."""
    check(rate, classes)
    pixels = need(context, "pixels", (len(labels), None))
    mean = np.zeros(pixels.shape[1])
    if (context or {}).get("centre"):
        mean = pixels.mean(0, dtype=np.float64)
    flip = rng.random(len(labels)) < truncated_normal(rate, len(labels), rng)
    noisy = labels.copy()
    for label in range(classes):
        # W is drawn class by class, so that only s k of its k s k numbers are in memory
        weights = rng.standard_normal((pixels.shape[1], classes))
        rows = np.flatnonzero((labels == label) & flip)
        scores = (pixels[rows] - mean) @ weights
        scores[:, label] = -np.inf  # a flipped label is another class
        # the largest score with Gumbel noise is a draw from the softmax of the scores
        noisy[rows] = (scores + rng.gumbel(size=scores.shape)).argmax(1)
    return noisy


def truncated_normal(mean: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """[count] draws of N(mean, 0.1²), drawn again until they are in [0, 1]."""
    drawn = mean + SPREAD * rng.standard_normal(count)
    while (outside := (drawn < 0) | (drawn > 1)).any():
        drawn[outside] = mean + SPREAD * rng.standard_normal(int(outside.sum()))
    return drawn
