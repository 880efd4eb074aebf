"""Kernel ridge regression on frozen features and given labels, judged out of fold.

Where class borders are no planes, nearest pictures know more than a linear probe; kernel ridge
regression weighs them all at once (Saunders, Gammerman, Vovk, ICML 1998). Its squared loss
errs on other pictures than a probe's logarithm, so that both together are better than each.

Pictures are compared through landmarks, random images of the data (Nyström; Williams and Seeger,
NeurIPS 2000): with m of them, z(x) = K(x, L) K(L, L)^(-1/2), W = (Z'Z + RIDGE)^-1 Z'(Y - mean Y),
probabilities are softmax(sharpness · (z W + mean Y)). Everything is a sum over images, so that a
fold is left out by subtracting its own sums.

Shapes: n images, d features, k classes, m landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from labelsieve.features.probe import FOLDS, split, spread
from labelsieve.features.zero_shot import softmax

# Chosen on CIFAR-10N's `random_label1`, 4,000 images, with a tower that knows no class: AUROC of
# this and a linear probe together .890, of the probe alone .883. Twice as many landmarks, a kernel
# of nearly twice the width, and a third or three times the ridge stay within .003.
LANDMARKS = 800
WIDTH = 0.3  # K(x, l) = exp(-WIDTH |x - l|² / d), on features of unit variance
RIDGE = 0.3
SHARPNESS = np.geomspace(2, 60, 18)  # scores are at most 1, with many classes far below
BLOCK = 8_192  # images that are compared with all landmarks at once: 52 MB
JITTER = 1e-6  # equal landmarks would make the root infinite


@dataclass(frozen=True)
class Kernel:
    """Kernel ridge regression of all images, for other images; float64 throughout.

    mean: [d], size: [1], what features are standardised with.
    landmarks: [m, d] standardised. weights: [m, k]. base: [k]. sharpness: [1], of the softmax.
    """

    mean: np.ndarray
    size: np.ndarray
    landmarks: np.ndarray
    weights: np.ndarray
    base: np.ndarray
    sharpness: np.ndarray

    def answers(self, features: np.ndarray) -> np.ndarray:
        """[b, k] float64 probabilities of features [b, d]."""
        inputs = (features - self.mean) / self.size
        scores = _similarity(inputs, self.landmarks) @ self.weights + self.base
        return softmax(self.sharpness * scores)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, for keeping."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def learn(
    features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> tuple[np.ndarray, Kernel]:
    """[n, k] float32 probabilities, each from a regression that has not seen the image; and one
    regression of all images.

    Args:
        features: [n, d] float32.
        labels: [n] int64.
    """
    seen = _Seen.of(features, labels, classes, seed)
    fold = split(labels, FOLDS, seed)
    every = [seen.sums(np.flatnonzero(fold == f)) for f in range(fold.max() + 1)]
    total = _Sums(*(np.sum(parts, 0) for parts in zip(*every, strict=True)))
    scores = np.empty((len(labels), classes))
    for number, own in enumerate(every):
        rest = _Sums(*(a - b for a, b in zip(total, own, strict=True)))
        weights, base = rest.solved()
        for rows in _blocks(np.flatnonzero(fold == number)):
            scores[rows] = seen.inner(rows) @ weights + base
    sharpness = _sharpness(scores, labels)
    weights, base = total.solved()
    size = np.array([seen.size])
    kernel = Kernel(
        seen.mean,
        size,
        seen.landmarks,
        seen.root @ weights,
        base,
        np.array([sharpness]),
    )
    return softmax(sharpness * scores).astype(np.float32), kernel


class _Sums(NamedTuple):
    """What a regression needs of some images: Z'Z, Z'Y, column sums of Z and Y, their number."""

    squares: np.ndarray  # [m, m]
    products: np.ndarray  # [m, k]
    columns: np.ndarray  # [m]
    counts: np.ndarray  # [k]

    def solved(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights [m, k] of Z, and the mean of Y [k]."""
        base = self.counts / self.counts.sum()
        # Z'(Y - mean Y), without Y itself
        aims = self.products - np.outer(self.columns, base)
        ridge = RIDGE * np.eye(len(self.squares))
        return np.linalg.solve(self.squares + ridge, aims), base


@dataclass(frozen=True)
class _Seen:
    """The images, and the landmarks they are compared with."""

    features: np.ndarray
    labels: np.ndarray
    classes: int
    mean: np.ndarray
    size: float
    landmarks: np.ndarray
    root: np.ndarray  # [m, m] K(L, L)^(-1/2)

    @classmethod
    def of(
        cls, features: np.ndarray, labels: np.ndarray, classes: int, seed: int
    ) -> _Seen:
        mean, size = spread(features)
        rng = np.random.default_rng([seed, LANDMARKS])
        count = min(LANDMARKS, len(labels))
        chosen = np.sort(rng.choice(len(labels), count, replace=False))
        landmarks = (features[chosen].astype(np.float64) - mean) / size
        values, vectors = np.linalg.eigh(_similarity(landmarks, landmarks))
        root = vectors / np.sqrt(values.clip(0) + JITTER)
        return cls(features, labels, classes, mean, size, landmarks, root)

    def inner(self, rows: np.ndarray) -> np.ndarray:
        """Z [b, m] of some rows."""
        inputs = (self.features[rows].astype(np.float64) - self.mean) / self.size
        return _similarity(inputs, self.landmarks) @ self.root

    def sums(self, rows: np.ndarray) -> _Sums:
        m, k = len(self.landmarks), self.classes
        total = _Sums(np.zeros((m, m)), np.zeros((m, k)), np.zeros(m), np.zeros(k))
        for part in _blocks(rows):
            z = self.inner(part)
            given = np.eye(k)[self.labels[part]]
            for kept, more in zip(
                total, (z.T @ z, z.T @ given, z.sum(0), given.sum(0)), strict=True
            ):
                kept += more
        return total


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK]


def _similarity(inputs: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """K [b, m] of standardised features [b, d] and [m, d]."""
    squares = (inputs**2).sum(1)[:, None] + (landmarks**2).sum(1)
    # rounding may leave a distance just below 0
    distances = (squares - 2 * inputs @ landmarks.T).clip(0)
    result: np.ndarray = np.exp(-WIDTH * distances / inputs.shape[1])
    return result


def _sharpness(scores: np.ndarray, labels: np.ndarray) -> float:
    """The one of `SHARPNESS` under which labels are likeliest, given scores [n, k] out of fold."""
    each = np.arange(len(labels))

    def likelihood(sharpness: float) -> float:
        probs = softmax(sharpness * scores)
        return float(np.log(probs[each, labels].clip(1e-12)).mean())

    return max(SHARPNESS.tolist(), key=likelihood)
