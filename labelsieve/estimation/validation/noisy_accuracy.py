"""Accuracy on labels that may be wrong, and what it says about accuracy on right ones.

Chen, Ye, Chen, Zhao, Heng, "Robustness of Accuracy Metric and its Inspirations in Learning with
Noisy Labels", AAAI 2021 (arXiv 2012.04193). Of k classes with frequencies π and noise
T[i, j] = P(given j | true i) that depends on the class alone, C[i, j] = P(answer j | true i) and
ε = 1 - Σ π_i T[i, i]:

    noisy accuracy    A_n = Σ_i π_i Σ_j C[i, j] T[i, j]  <=  1 - ε
    its shortfall     (1 - ε) - A_n = Σ_i π_i Σ_j≠i C[i, j] (T[i, i] - T[i, j])

The first is their theorem 1, where T is diagonally dominant (T[i, i] > T[i, j]). From the second
follow, with the least and the largest T[i, i] - T[i, j] of two classes, D_min and D_max,

    1 - ((1 - ε) - A_n) / D_min  <=  A  <=  1 - ((1 - ε) - A_n) / D_max

which is ours, as are the exact test and the interval. With errors that are spread evenly both
bounds are the same line, and only then is the order of classifiers on noisy labels surely that on
right ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

CHANCE = 1.96  # standard errors: 95 % of a normal distribution lie within
LEVEL = 0.05  # of all tests of one comparison together


@dataclass(frozen=True)
class ClassNoise:
    """How labels come about: classes and what is given for each.

    transition: T [k, k], rows true, columns given, rows summing to one.
    prior: π [k], shares of the true classes.
    """

    transition: np.ndarray
    prior: np.ndarray

    @property
    def ceiling(self) -> float:
        """1 - ε, the noisy accuracy of a classifier that is always right."""
        return float(self.prior @ np.diag(self.transition))

    def gaps(self) -> np.ndarray:
        """[k, k - 1] T[i, i] - T[i, j] of other classes j, of classes i that occur."""
        k = len(self.prior)
        difference = np.diag(self.transition)[:, None] - self.transition
        others = difference[~np.eye(k, dtype=bool)].reshape(k, k - 1)
        return others[self.prior > 0]

    @property
    def dominant(self) -> bool:
        """Whether the right label is the likeliest one of every class."""
        return bool((self.gaps() > 0).all())

    def bounds(self, noisy: float) -> tuple[float, float]:
        """Least and largest accuracy on right labels for one on noisy labels; dominant noise."""
        short = max(0.0, self.ceiling - noisy)
        gaps = self.gaps()
        low, high = 1 - short / gaps.min(), 1 - short / gaps.max()
        return max(0.0, float(low)), max(0.0, float(high))

    def estimate(self, noisy: float) -> float:
        """Accuracy on right labels if errors were spread evenly, within the bounds."""
        low, high = self.bounds(noisy)
        # uneven errors may put the line outside of what is possible
        clean = if_even(noisy, 1 - self.ceiling, len(self.prior))
        return float(np.clip(clean, low, high))


def even(rate: float, k: int) -> ClassNoise:
    """A share `rate` of wrong labels, spread evenly over the other classes of k."""
    transition = np.full((k, k), rate / (k - 1))
    np.fill_diagonal(transition, 1 - rate)
    return ClassNoise(transition, np.full(k, 1 / k))


def from_joint(joint: np.ndarray) -> ClassNoise:
    """The noise behind shares [k, k] of given (row) and true class (column)."""
    prior = joint.sum(0)
    transition = np.eye(len(joint))
    # a class that nothing truly is has no noise
    occurs = prior > 0
    transition[occurs] = (joint[:, occurs] / prior[occurs]).T
    return ClassNoise(transition, prior / prior.sum())


def if_even(noisy: float, rate: float, k: int) -> float:
    """A = (A_n - ε / (k - 1)) / (1 - ε k / (k - 1)): exact for errors that are spread evenly."""
    spread = rate / (k - 1)
    return (noisy - spread) / (1 - k * spread)


def interval(right: np.ndarray) -> tuple[float, float]:
    """95 % interval of the share of `right` [n] (Wilson, JASA 22, 1927)."""
    found = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Difference:
    """How much more often the first of two classifiers gives the label, with a 95 % interval.

    p: of the exact test that both give it equally often (McNemar, Psychometrika 12, 1947).
    """

    difference: float
    low: float
    high: float
    p: float


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two classifiers on the same n labels; only disagreements count.

    Args:
        first, second: [n] bool, whether each gives the label.
    """
    # 1 where only the first gives the label, -1 where only the second does
    signs = first.astype(np.float64) - second
    mean = float(signs.mean())
    error = CHANCE * float(signs.std()) / np.sqrt(len(signs))
    more, less = int((signs > 0).sum()), int((signs < 0).sum())
    p = 1.0
    # who never disagrees is not told apart
    if more + less:
        p = float(binomtest(more, more + less).pvalue)
    return Difference(mean, mean - error, mean + error, p)


def real(p: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """[m] bool: which of m tests hold together at `level` (Holm, Scandinavian J. Stat. 6, 1979)."""
    order = np.argsort(p, kind="stable")
    holds = p[order] <= level / (len(p) - np.arange(len(p)))
    # the first that fails takes all that follow with it
    result = np.zeros(len(p), dtype=bool)
    result[order] = np.logical_and.accumulate(holds)
    return result
