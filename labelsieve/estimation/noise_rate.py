"""The share of wrong labels with its interval, per class and per pair of classes.

Shapes: n images, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

CHANCE = 1.96  # standard errors: 95 % of a normal distribution lie within
SHOWN = 20  # pairs of classes that are listed
LEAST = 0.5  # images; a confusion of fewer rounds to none
METHOD = "model-based, no audit (see labelsieve.estimation.transition)"


@dataclass(frozen=True)
class Noise:
    """Estimated label noise of a data set.

    Attributes:
        rate: share of wrong labels.
        low, high: its interval.
        per_class: given label -> share wrong.
        pairs: most frequent confusions: given, suggested, images.
        matrix: [k, k] share of all images with given label (row) and estimated true class
            (column).
        reference: the reference classifier it was estimated with.
    """

    rate: float
    low: float
    high: float
    per_class: dict[str, float]
    pairs: list[dict[str, Any]]
    matrix: np.ndarray
    reference: str = "method"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "per_class": self.per_class,
            "pairs": self.pairs,
            "matrix": as_triplets(self.matrix),
            "witness": self.reference,  # the key is older than the word
            "method": METHOD,
        }


def as_triplets(matrix: np.ndarray) -> dict[str, list[Any]]:
    """A matrix [k, k] of shares by its entries.

    Of thousands of classes few pairs are ever confused, and k² numbers would make a file that
    no editor opens.
    """
    shares = matrix.round(6)
    given, true = np.nonzero(shares)
    return {
        "given": given.tolist(),
        "true": true.tolist(),
        "share": shares[given, true].tolist(),
    }


def noise_matrix(noise: Mapping[str, Any]) -> sparse.csr_array:
    """[k, k] share of all images by given label (row) and estimated true class (column).

    Args:
        noise: content of `noise.json`.
    """
    entries = noise["matrix"]
    k = len(noise["per_class"])
    positions = (entries["given"], entries["true"])
    return sparse.csr_array((entries["share"], positions), shape=(k, k))


def summarise(
    posterior: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    rates: Sequence[float],
) -> Noise:
    """Rate, classes and pairs from the posterior of the true class.

    Args:
        posterior: [n, k] probability of each true class.
        labels: [n] given labels.
        classes: names of the k classes.
        rates: the rate under other assumptions that are about as likely; they widen the
            interval.
    """
    n = len(labels)
    k = len(classes)
    matrix = np.zeros((k, k))
    np.add.at(matrix, labels, posterior)
    wrong = 1 - posterior[np.arange(n), labels]
    # a class without an image has a share of zero
    counts = np.bincount(labels, minlength=k).clip(1)
    per_class = np.bincount(labels, wrong, minlength=k) / counts
    rate = float(wrong.mean())
    # two sources of chance: which images were collected, and which of them are wrong
    of_images = CHANCE * float(wrong.std()) / np.sqrt(n)
    spread = of_images + CHANCE * np.sqrt(rate * (1 - rate) / n)
    return Noise(
        rate=rate,
        low=max(0.0, min((rate, *rates)) - spread),
        high=min(1.0, max((rate, *rates)) + spread),
        per_class=dict(zip(classes, per_class.tolist(), strict=True)),
        pairs=_pairs(matrix, classes),
        matrix=matrix / n,
    )


def _pairs(matrix: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most frequent confusions in expected counts [k, k]."""
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None)[:SHOWN]
    pairs = []
    for i, j in zip(*np.unravel_index(order, errors.shape), strict=True):
        images = float(errors[i, j])
        if images >= LEAST:
            pairs.append(
                {"given": classes[i], "suggested": classes[j], "images": images}
            )
    return pairs
