"""The share of wrong labels with its interval, per class and per pair of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Noise:
    """Estimated label noise of a data set.

    rate, low, high: share of wrong labels with an interval. per_class: given label -> share wrong.
    matrix: [k, k] share of all images with given label (row) and estimated true class (column).
    """

    rate: float
    low: float
    high: float
    per_class: dict[str, float]
    pairs: list[dict[str, Any]]  # most frequent confusions: given, suggested, images
    matrix: np.ndarray
    reference: str = "method"  # whose class probabilities it was found with

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "per_class": self.per_class,
            "pairs": self.pairs,
            "matrix": as_triplets(self.matrix),
            "witness": self.reference,
            "method": "model-based, no audit (see labelsieve.estimation.transition)",
        }


def as_triplets(matrix: np.ndarray) -> dict[str, list[Any]]:
    """A matrix [k, k] of shares by its entries: of thousands of classes, few pairs are ever confused."""
    shares = matrix.round(6)
    given, true = np.nonzero(shares)
    return {
        "given": given.tolist(),
        "true": true.tolist(),
        "share": shares[given, true].tolist(),
    }


def noise_matrix(noise: Mapping[str, Any]) -> sparse.csr_array:
    """Share of all images [k, k] with given label (row) and estimated true class (column), from `noise.json`."""
    found, k = noise["matrix"], len(noise["per_class"])
    return sparse.csr_array(
        (found["share"], (found["given"], found["true"])), shape=(k, k)
    )


def summarise(
    posterior: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    rates: tuple[float, ...],
    seed: int = 0,
) -> Noise:
    """Rate, classes and pairs from the posterior of the true class [n, k].

    Args:
        rates: the rate under other assumptions that are about as likely; they widen the interval.
    """
    k, each = len(classes), np.arange(len(labels))
    matrix = np.zeros((k, k))
    np.add.at(matrix, labels, posterior)
    wrong = 1 - posterior[each, labels]
    per_class = np.bincount(labels, wrong, minlength=k) / np.bincount(
        labels, minlength=k
    ).clip(1)
    rate = float(wrong.mean())
    spread = 1.96 * float(wrong.std()) / np.sqrt(len(labels)) + 1.96 * np.sqrt(
        rate * (1 - rate) / len(labels)
    )
    low, high = min((rate, *rates)) - spread, max((rate, *rates)) + spread
    by_class = {c: float(per_class[j]) for j, c in enumerate(classes)}
    return Noise(
        rate,
        max(0.0, low),
        min(1.0, high),
        by_class,
        _pairs(matrix, classes),
        matrix / len(labels),
    )


def _pairs(
    matrix: np.ndarray, classes: tuple[str, ...], shown: int = 20
) -> list[dict[str, Any]]:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None)[:shown]
    found = [
        (int(i), int(j))
        for i, j in zip(*np.unravel_index(order, off.shape), strict=True)
    ]
    said = ((classes[i], classes[j], float(off[i, j])) for i, j in found)
    return [
        {"given": given, "suggested": other, "images": images}
        for given, other, images in said
        if images >= 0.5
    ]
