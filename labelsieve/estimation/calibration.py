"""Class probabilities brought to a temperature and to class frequencies.

Shapes: n images, k classes.
"""

from __future__ import annotations

import numpy as np

# Numbers in an array [rows, k] that is made in passing; with more, rows are taken in parts.
# 32 MB of float64: larger parts are no faster.
CELLS = 4_000_000


def parts(n: int, k: int) -> list[slice]:
    """All of n rows, at most `CELLS` numbers of [n, k] at a time."""
    size = max(1, CELLS // max(k, 1))
    return [slice(start, start + size) for start in range(0, n, size)]


def soften(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature), [n, k]."""
    # in place from here on: [n, k] may be the largest array of a run
    result: np.ndarray = np.log(probs.clip(1e-12))
    result /= temperature
    # the largest logit becomes 0, so that exp cannot overflow
    result -= result.max(1, keepdims=True)
    np.exp(result, out=result)
    result /= result.sum(1, keepdims=True)
    return result


def reweigh(probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Products probs · weights, rows summing to one again."""
    joint: np.ndarray = probs * weights
    # a row of zeros, where every class was ruled out, stays a row of zeros
    joint /= joint.sum(1, keepdims=True).clip(1e-30)
    return joint


def calibrate(probs: np.ndarray, temperature: float, weights: np.ndarray) -> np.ndarray:
    """[n, k] probabilities at a temperature, with class weights [k]; of the same dtype."""
    result = np.empty_like(probs)
    for part in parts(*probs.shape):
        result[part] = reweigh(soften(probs[part], temperature), weights)
    return result


def balance(
    probs: np.ndarray, frequencies: np.ndarray, rounds: int = 100
) -> np.ndarray:
    """Class weights [k] under which the mean of `probs` [n, k] has the class frequencies [k]."""
    weights = np.ones(probs.shape[1])
    for _ in range(rounds):
        totals = (probs @ weights).clip(1e-30)
        # the mean of the rows of `reweigh`, without making them
        mean = weights * (probs.T @ (1 / totals)) / len(probs)
        # a ten-thousandth of the images: finer than any class is frequent
        if np.abs(mean - frequencies).max() < 1e-4:
            break
        # a full step (power 1) swings to and fro where classes compete for the same images
        weights *= (frequencies.clip(1e-9) / mean.clip(1e-9)) ** 0.7
    return weights / weights.max()
