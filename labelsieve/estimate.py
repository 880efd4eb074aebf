"""How much of a data set is wrongly labelled, and how wrong labels arise: estimates without true labels.

Model: a true class k makes the given label j with probability T[k, j], whatever the picture looks like. From class
probabilities q_i(k) that do not depend on the labels (zero-shot), T is found by maximum likelihood of the given labels,
Σ_i log Σ_k q_i(k) T[k, y_i], with EM (it is concave in T). Two faults of zero-shot answers are mended on the way, both
without true labels: classes the model prefers are weighted down until every class is as frequent among its answers as
among the given labels, and a temperature is chosen by the same likelihood, so that an over-confident model does not
pass its own errors off as label errors.

What the estimate assumes: that errors depend on the class and not on the picture, and that they leave class frequencies
about as they are. People mislabel hard pictures more often, so with many human errors the estimate tends to be low. The
interval covers the chance of the sample and the doubt about the temperature; it is no guarantee. Only an
audit gives one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(4.0), 16))
SAMPLE = 20_000  # images that T and the temperature are found on
DOUBT = 0.005  # temperatures whose likelihood per image is this close to the best one count for the interval


@dataclass(frozen=True)
class Transition:
    """How labels arise from classes, and the class probabilities it was found with.

    matrix: T [k, k], rows true class, columns given label, rows sum to one. temperature, weights [k]: what the
    probabilities were mended with. rates: share of wrong labels under each temperature that is about as likely.
    """

    matrix: np.ndarray
    temperature: float
    weights: np.ndarray
    log_likelihood: float  # per image
    rates: tuple[float, ...]

    def mend(self, probs: np.ndarray) -> np.ndarray:
        """[n, k] probabilities at the chosen temperature and class weights."""
        return reweigh(soften(probs, self.temperature), self.weights)

    def posterior(self, mended: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[n, k] probability of each true class given picture (mended probabilities) and label [n]."""
        return reweigh(mended, self.matrix[:, labels].T)


def reweigh(probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Products probs · weights, rows summing to one again."""
    joint = probs * weights
    return joint / joint.sum(1, keepdims=True).clip(1e-30)


def balance(probs: np.ndarray, frequencies: np.ndarray, rounds: int = 100) -> np.ndarray:
    """Class weights [k] under which the mean of `probs` [n, k] has the given class frequencies [k]."""
    weights = np.ones(probs.shape[1])
    for _ in range(rounds):
        mean = reweigh(probs, weights).mean(0)
        if np.abs(mean - frequencies).max() < 1e-4:
            break
        weights *= (frequencies.clip(1e-9) / mean.clip(1e-9)) ** 0.7
    return weights / weights.max()


def soften(probs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / temperature), [n, k]."""
    logs = np.log(probs.clip(1e-12)) / temperature
    powered = np.exp(logs - logs.max(1, keepdims=True))
    return powered / powered.sum(1, keepdims=True)


def fit_transition(probs: np.ndarray, labels: np.ndarray, seed: int = 0) -> Transition:
    """Most likely T, temperature and class weights.

    Args:
        probs: [n, k] class probabilities from pictures alone.
        labels: [n] given labels.
    """
    k = probs.shape[1]
    chosen = _sample(len(labels), seed)
    given = labels[chosen]
    frequencies = np.bincount(given, minlength=k) / len(given)
    tried = []
    for temperature in TEMPERATURES:
        soft = soften(probs[chosen], temperature)
        weights = balance(soft, frequencies)
        matrix, likelihood = _em(reweigh(soft, weights), given)
        rate = 1 - reweigh(reweigh(soft, weights), matrix[:, given].T)[np.arange(len(given)), given].mean()
        tried.append((likelihood, float(temperature), weights, matrix, float(rate)))
    best = max(tried, key=lambda t: t[0])
    rates = tuple(t[4] for t in tried if t[0] > best[0] - DOUBT)
    return Transition(best[3], best[1], best[2], best[0], rates)


def _sample(n: int, seed: int) -> np.ndarray:
    return np.arange(n) if n <= SAMPLE else np.sort(np.random.default_rng(seed).choice(n, SAMPLE, replace=False))


def _em(probs: np.ndarray, labels: np.ndarray, rounds: int = 60) -> tuple[np.ndarray, float]:
    """EM for T with fixed q; gives T and the log-likelihood per image.

    Each cell gets one pseudo-observation on average, spread as symmetric noise of the current rate would: with few
    images a class T stays near symmetric noise.
    """
    n, k = probs.shape
    matrix = _symmetric(0.2, k)
    given = np.zeros((n, k), dtype=probs.dtype)
    given[np.arange(n), labels] = 1
    before = -np.inf
    for _ in range(rounds):
        joint = probs * matrix[:, labels].T
        total = joint.sum(1).clip(1e-30)
        counts = (joint / total[:, None]).T @ given
        rate = 1 - np.trace(counts) / n
        matrix = counts + k * _symmetric(rate, k)
        matrix /= matrix.sum(1, keepdims=True)
        likelihood = float(np.log(total).mean())
        if likelihood - before < 1e-7:
            break
        before = likelihood
    return matrix, likelihood


def _symmetric(rate: float, k: int) -> np.ndarray:
    matrix: np.ndarray = np.full((k, k), rate / max(k - 1, 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def expected_f1_count(p_wrong: np.ndarray) -> int:
    """How many of the most suspicious labels to flag so that the expected F1 is largest.

    With the m largest p_wrong flagged, expected F1 is 2 Σ_flagged p / (m + Σ_all p) (Lipton et al., ECML 2014).
    """
    ordered = np.sort(p_wrong)[::-1]
    hits = np.cumsum(ordered)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1]).clip(1e-12)
    return int(f1.argmax()) + 1 if len(f1) and f1.max() > 0 else 0


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

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rate": self.rate, "low": self.low, "high": self.high, "per_class": self.per_class, "pairs": self.pairs,
            "matrix": self.matrix.round(6).tolist(), "method": "model-based, no audit (see labelsieve.estimate)",
        }  # fmt: skip


def summarise(
    posterior: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], rates: tuple[float, ...], seed: int = 0
) -> Noise:
    """Rate, classes and pairs from the posterior of the true class [n, k].

    Args:
        rates: the rate under other assumptions that are about as likely; they widen the interval.
    """
    k = len(classes)
    each = np.arange(len(labels))
    matrix = np.zeros((k, k))
    np.add.at(matrix, labels, posterior)
    wrong = 1 - posterior[each, labels]
    per_class = np.bincount(labels, wrong, minlength=k) / np.bincount(labels, minlength=k).clip(1)
    rate = float(wrong.mean())
    spread = 1.96 * float(wrong.std()) / np.sqrt(len(labels)) + 1.96 * np.sqrt(rate * (1 - rate) / len(labels))
    low, high = min(rate, *rates) - spread, max(rate, *rates) + spread
    return Noise(
        rate,
        max(0.0, low),
        min(1.0, high),
        {c: float(per_class[j]) for j, c in enumerate(classes)},
        _pairs(matrix, classes),
        matrix / len(labels),
    )


def _pairs(matrix: np.ndarray, classes: tuple[str, ...], shown: int = 20) -> list[dict[str, Any]]:
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None)[:shown]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [
        {"given": classes[i], "suggested": classes[j], "images": float(off[i, j])} for i, j in found if off[i, j] >= 0.5
    ]
