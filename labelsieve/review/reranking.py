"""A ranking that learns from decisions: a small calibrated model, no training run.

For image i with scored probability p of an error, z = log p/(1−p), and images j that people
judged (y = 1: label wrong),

    P(wrong) = σ(a + b z + c k),    k_i = Σ_j w_ij (y_j − p_j) / (Σ_j w_ij + 1),

with w_ij = exp((cos(f_i, f_j) − 1) / τ), where j runs over judged images with the same given
label: how wrong the scores were about images that look alike (Nadaraya–Watson regression of the
residuals, shrunk to nothing where nothing like it was judged). For judged images k leaves their
own answer out, so that the model is fitted on what it will meet. a, b, c are found by Newton's
method on the logistic likelihood with a Gaussian prior around (0, 1, 1), c not below 0: without
decisions the ranking is the run's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TEMPERATURE = 0.1  # τ: how alike is alike, in cosines
# a, b, c: the scores as they are, and residuals of look-alikes added to them; scores may be
# shifted a lot, stretched a little, and how much look-alikes tell is left to the answers
PRIOR_MEAN = np.array([0.0, 1.0, 1.0])
PRIOR_SD = np.array([2.0, 0.5, 4.0])
REMEMBERED = (
    2000  # judged images that are compared with, the latest: keeps this below a second
)
BLOCK = 16_384  # rows at once: 130 MB against 2000 judged images


@dataclass(frozen=True)
class Judged:
    """Images that people judged: rows [m], and whether the label was wrong [m]."""

    rows: np.ndarray
    wrong: np.ndarray


def refine(
    p_wrong: np.ndarray,
    labels: Sequence[str] | np.ndarray,
    features: np.ndarray | None,
    judged: Judged,
) -> np.ndarray:
    """Probability [n] that each label is wrong, given what people decided so far.

    Args:
        p_wrong: [n] scored.
        labels: [n] given labels.
        features: [n, d] of length one; None: only the calibration is learned.
    """
    z = _logit(p_wrong)
    if not len(judged.rows):
        return p_wrong.copy()
    judged = Judged(judged.rows[-REMEMBERED:], judged.wrong[-REMEMBERED:])
    k = np.zeros(len(z))
    if features is not None:
        names = np.asarray(labels, dtype=object).astype(str)
        k = residuals(p_wrong, names, features, judged)
    inputs = np.stack([np.ones_like(z), z, k], axis=1)
    weights = _fit(inputs[judged.rows], judged.wrong.astype(float))
    # leaving one out makes an answer and its k disagree by chance: nothing to learn from
    if weights[2] < 0:
        inputs[:, 2] = 0
        weights = _fit(inputs[judged.rows], judged.wrong.astype(float))
    return _sigmoid(inputs @ weights)


def residuals(
    p_wrong: np.ndarray, labels: np.ndarray, features: np.ndarray, judged: Judged
) -> np.ndarray:
    """[n] how wrong the scores were about judged images of the same label that look alike.

    The own answer of a judged image is left out.
    """
    result = np.zeros(len(p_wrong))
    residual = judged.wrong - p_wrong[judged.rows]
    for label in np.unique(labels[judged.rows]):
        of_label = np.flatnonzero(labels[judged.rows] == label)
        rows = judged.rows[of_label]
        known = np.asarray(features[rows], dtype=np.float32)
        everyone = np.flatnonzero(labels == label)
        for start in range(0, len(everyone), BLOCK):
            part = everyone[start : start + BLOCK]
            cosines = np.asarray(features[part], dtype=np.float32) @ known.T
            alike = np.exp((cosines - 1) / TEMPERATURE)
            alike[part[:, None] == rows[None, :]] = 0
            result[part] = (alike @ residual[of_label]) / (alike.sum(1) + 1)
    return result


def _fit(inputs: np.ndarray, wrong: np.ndarray, rounds: int = 50) -> np.ndarray:
    """Most probable weights [3] of a logistic regression with the prior above."""
    weights = PRIOR_MEAN.copy()
    precision = np.diag(1 / PRIOR_SD**2)
    for _ in range(rounds):
        p = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - wrong) + precision @ (weights - PRIOR_MEAN)
        hessian = (inputs * (p * (1 - p))[:, None]).T @ inputs + precision
        step = np.linalg.solve(hessian, gradient)
        # steps of at most 2: far from the solution Newton's method overshoots
        weights = weights - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _logit(p: np.ndarray) -> np.ndarray:
    # scores of exactly 0 and 1 would be infinitely sure
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -50, 50)))
