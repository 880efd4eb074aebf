"""How much of a data set is wrongly labelled, and how wrong labels arise: estimates without true labels.

Model: a true class k makes the given label j with probability T[k, j], whatever the picture looks like. With class
probabilities q_i(k) of the pictures, the likelihood of the given labels, Σ_i log Σ_k q_i(k) T[k, y_i], is concave in T;
EM finds it. At the same time a temperature for q is chosen by the same likelihood, so that an over-confident model
does not pass its own errors off as label errors. The posterior of the true class then gives p_clean.

The interval covers the chance of the sample (a bootstrap over images) for this model, not errors of the model itself:
where people mislabel just the pictures that the network finds hard, the estimate is off by more. Only an audit gives an
interval without that assumption (labelsieve review).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(8.0), 15))
SAMPLE = 20_000  # images used for choosing the temperature and for the bootstrap
RESAMPLES = 200


@dataclass(frozen=True)
class Transition:
    """T [k, k], rows true class, columns given label, rows sum to one; and the temperature that goes with it."""

    matrix: np.ndarray
    temperature: float
    log_likelihood: float  # per image

    def posterior(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[n, k] probability of each true class given picture and label."""
        joint = soften(probs, self.temperature) * self.matrix[:, labels].T
        return joint / joint.sum(1, keepdims=True).clip(1e-30)


def soften(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature), [n, k]."""
    logs = np.log(probs.clip(1e-12)) / temperature
    powered = np.exp(logs - logs.max(1, keepdims=True))
    return powered / powered.sum(1, keepdims=True)


def fit_transition(probs: np.ndarray, labels: np.ndarray, seed: int = 0) -> Transition:
    """Most likely T and temperature.

    Args:
        probs: [n, k] class probabilities from pictures alone (or nearly so).
        labels: [n] given labels.
    """
    chosen = _sample(len(labels), seed)
    tried = [_em(soften(probs[chosen], t), labels[chosen]) for t in TEMPERATURES]
    best = int(np.argmax([likelihood for _, likelihood in tried]))
    temperature = float(TEMPERATURES[best])
    matrix, likelihood = _em(soften(probs, temperature), labels, start=tried[best][0])
    return Transition(matrix, temperature, likelihood)


def _sample(n: int, seed: int) -> np.ndarray:
    return np.arange(n) if n <= SAMPLE else np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))


def _em(
    probs: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    rounds: int = 60,
) -> tuple[np.ndarray, float]:
    """EM for T with fixed q; a little prior weight on the diagonal keeps rare classes sane."""
    n, k = probs.shape
    weights = np.ones(n) if weights is None else weights
    matrix = np.full((k, k), 0.2 / max(k - 1, 1)) if start is None else start.copy()
    if start is None:
        np.fill_diagonal(matrix, 0.8)
    prior = 2.0 * np.eye(k) + 0.5 / k
    given = np.zeros((n, k), dtype=probs.dtype)
    given[np.arange(n), labels] = 1
    before = -np.inf
    for _ in range(rounds):
        joint = probs * matrix[:, labels].T
        total = joint.sum(1).clip(1e-30)
        matrix = (joint * (weights / total)[:, None]).T @ given + prior
        matrix /= matrix.sum(1, keepdims=True)
        likelihood = float((weights * np.log(total)).sum() / weights.sum())
        if likelihood - before < 1e-7:
            break
        before = likelihood
    return matrix, likelihood


@dataclass(frozen=True)
class Noise:
    """Estimated label noise of a data set.

    rate, low, high: share of wrong labels with a 95 % interval. per_class: given label -> share wrong.
    matrix: [k, k] share of all images with given label (row) and estimated true class (column).
    """

    rate: float
    low: float
    high: float
    per_class: dict[str, float]
    pairs: list[dict[str, Any]]  # most frequent confusions: given, suggested, images
    temperature: float
    matrix: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        return {
            "rate": self.rate, "low": self.low, "high": self.high, "per_class": self.per_class, "pairs": self.pairs,
            "temperature": self.temperature, "matrix": self.matrix.round(6).tolist(),
            "method": "transition matrix by maximum likelihood on the model's class probabilities; bootstrap over images; no audit",
        }  # fmt: skip


def estimate_noise(probs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], seed: int = 0) -> Noise:
    """Share of wrong labels, overall, per class and per pair, with a bootstrap interval."""
    transition = fit_transition(probs, labels, seed)
    posterior = transition.posterior(probs, labels)
    k = len(classes)
    matrix = np.zeros((k, k))
    np.add.at(matrix, labels, posterior)
    counts = np.bincount(labels, minlength=k)
    wrong = 1 - posterior[np.arange(len(labels)), labels]
    per_class = np.bincount(labels, wrong, minlength=k) / counts.clip(1)
    low, high = _interval(probs, labels, transition, seed)
    rate = float(wrong.mean())
    return Noise(
        rate, min(low, rate), max(high, rate), {c: float(per_class[j]) for j, c in enumerate(classes)}, _pairs(matrix, classes),
        transition.temperature, matrix / len(labels),
    )  # fmt: skip


def _interval(probs: np.ndarray, labels: np.ndarray, transition: Transition, seed: int) -> tuple[float, float]:
    chosen = _sample(len(labels), seed)
    soft, given = soften(probs[chosen], transition.temperature), labels[chosen]
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES):
        weights = rng.multinomial(len(given), np.full(len(given), 1 / len(given))).astype(float)
        matrix, _ = _em(soft, given, weights, transition.matrix, rounds=8)
        joint = soft * matrix[:, given].T
        right = joint[np.arange(len(given)), given] / joint.sum(1).clip(1e-30)
        rates.append(float(((1 - right) * weights).sum() / weights.sum()))
    spread = np.quantile(rates, [0.025, 0.975]) - np.mean(rates)
    shrink = np.sqrt(len(given) / len(labels))
    centre = float(np.mean(1 - transition.posterior(probs, labels)[np.arange(len(labels)), labels]))
    return max(0.0, centre + float(spread[0]) * shrink), min(1.0, centre + float(spread[1]) * shrink)


def _pairs(matrix: np.ndarray, classes: tuple[str, ...], shown: int = 20) -> list[dict[str, Any]]:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None)[:shown]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [
        {"given": classes[i], "suggested": classes[j], "images": float(off[i, j])} for i, j in found if off[i, j] >= 0.5
    ]
