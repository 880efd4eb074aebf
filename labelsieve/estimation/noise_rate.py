"""The share of wrong labels with its interval, per class and per pair of classes.

Shapes: n images, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

CHANCE = 1.96  # standard errors: 95 % of a normal distribution lie within
SHOWN = 20  # pairs of classes that are listed
LEAST = 0.5  # images; a confusion of fewer rounds to none
USELESS = 0.5  # width; an interval over more than half of the scale says nothing
METHOD = "model-based, no audit (see labelsieve.estimation.transition)"


@dataclass(frozen=True)
class Noise:
    """Estimated label noise of a data set.

    Attributes:
        rate: share of wrong labels.
        low, high: its interval.
        per_class: given label -> share wrong.
        class_intervals: given label -> interval of that share; see `_Whole.interval`.
        pairs: most frequent confusions: given, suggested, images, and the interval of images
            (low, high) unless names changed places.
        matrix: [k, k] share of all images with given label (row) and estimated true class
            (column).
        reference: the reference classifier it was estimated with.
        renamed: share of all images that bear another class's name because names changed
            places; they are among the wrong ones. See `by_names`.
    """

    rate: float
    low: float
    high: float
    per_class: dict[str, float]
    pairs: list[dict[str, Any]]
    matrix: np.ndarray
    reference: str = "method"
    class_intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    renamed: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "rate": self.rate,
            "low": self.low,
            "high": self.high,
            "informative": not says_little(self.low, self.high),
            "renamed": self.renamed,
            "per_class": self.per_class,
            "class_intervals": {k: list(v) for k, v in self.class_intervals.items()},
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
    # a fifth of a second of every page and command that names no matrix
    from scipy import sparse

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
    rate = float(wrong.mean())
    # two sources of chance: which images were collected, and which of them are wrong
    of_images = CHANCE * float(wrong.std()) / np.sqrt(n)
    spread = of_images + CHANCE * np.sqrt(rate * (1 - rate) / n)
    bounds = (min((rate, *rates)), max((rate, *rates)))
    bounds = (min((rate, *rates)), max((rate, *rates)))
    whole = _Whole(rate, *bounds)
    per_class = {}
    intervals = {}
    for number, name in enumerate(classes):
        of_class = wrong[labels == number]
        # a class without an image has a share of zero
        per_class[name] = float(of_class.mean()) if len(of_class) else 0.0
        intervals[name] = whole.interval(of_class)
    return Noise(
        rate=rate,
        low=max(0.0, bounds[0] - spread),
        high=min(1.0, bounds[1] + spread),
        per_class=per_class,
        pairs=_pairs(posterior, labels, classes, matrix, whole),
        matrix=matrix / n,
        class_intervals=intervals,
    )


@dataclass(frozen=True)
class _Whole:
    """The share of wrong labels in all data, and its bounds without chance."""

    rate: float
    low: float
    high: float

    def interval(self, wrong: np.ndarray) -> tuple[float, float]:
        """Interval of the share of wrong labels, or of errors of one kind, in a part of the data.

        The odds of an error move with those of the whole from the estimate to either end, so
        that the ends of all parts together are about those of the whole. Chance comes on top.

        Args:
            wrong: [m] probability that each label of the part is wrong.
        """
        share = float(wrong.mean()) if len(wrong) else self.rate
        spread = _spread(wrong)
        # the estimate of a method may lie outside of what its reference classifier says
        low = min(self._moved(share, self.low), share) - spread
        high = max(self._moved(share, self.high), share) + spread
        return max(0.0, low), min(1.0, high)

    def _moved(self, share: float, bound: float) -> float:
        # where no odds are defined, the share moves as far as the whole
        if not 0 < self.rate < 1 or bound >= 1:
            return share + bound - self.rate
        odds = bound / (1 - bound) * (1 - self.rate) / self.rate
        return share * odds / (1 - share + share * odds)


def _spread(wrong: np.ndarray) -> float:
    """Chance in the mean of the probabilities [m] of an error, 95 %.

    What is observed of an unknown share s is the information of m known errors, m / (s (1 - s)),
    less what is missing since each is known with a probability only (Louis, "Finding the observed
    information matrix when using the EM algorithm", Journal of the Royal Statistical Society B 44,
    1982): the standard error is s (1 - s) / (√m sd).
    """
    m = len(wrong)
    # half a label of either kind more: where none was seen, there may be one
    share = (float(wrong.sum()) + 0.5) / (m + 1)
    variance = share * (1 - share)
    known = float(wrong.std()) if m else 0.0
    # probabilities that are all alike say nothing
    informed = max(known, 1e-6) if known else np.sqrt(variance)
    return float(
        min(1.0, CHANCE * max(variance / informed, np.sqrt(variance)) / np.sqrt(m + 1))
    )


def says_little(low: float, high: float) -> bool:
    """Whether an interval of a share is too wide to name a number between its ends."""
    return high - low > USELESS


def by_names(noise: Noise, order: Mapping[str, str], images: int) -> Noise:
    """The estimate for names as they stand, where some of them changed places.

    A model of errors by class, or a reference classifier that learned from the labels, takes
    pictures under another class's name as right as long as all of a class are. By their names
    they are wrong, and the few that are wrong within such a class may be right.

    Args:
        order: given class -> the class its pictures are by name, of whole cycles
            (`labelsieve.estimation.renaming`); empty leaves the estimate as it is.
        images: n.
    """
    if not order:
        return noise
    classes = tuple(noise.per_class)
    at = {name: number for number, name in enumerate(classes)}
    given = np.array([at[name] for name in order])
    shown = np.array([at[name] for name in order.values()])
    matrix = noise.matrix.copy()
    # zero-shot answers may have counted by name already
    if noise.matrix[given, given].sum() > noise.matrix[given, shown].sum():
        matrix[:, shown] = noise.matrix[:, given]
    # all shares sum to one, but rounding may leave the trace above it
    rate = float(np.clip(1 - np.trace(matrix), 0, 1))
    shift = rate - noise.rate
    per_class = dict(noise.per_class)
    intervals = dict(noise.class_intervals)
    for number, name in zip(given.tolist(), order, strict=True):
        share = float(1 - matrix[number, number] / matrix[number].sum())
        # that names changed places is beyond doubt, so what was doubtful is doubtful still
        low, high = (1 - bound for bound in reversed(intervals[name]))
        per_class[name] = share
        intervals[name] = (min(low, share), max(high, share))
    return replace(
        noise,
        rate=rate,
        low=max(0.0, noise.low + shift),
        high=min(1.0, noise.high + shift),
        per_class=per_class,
        pairs=_swapped_pairs(matrix * images, classes),
        matrix=matrix,
        class_intervals=intervals,
        renamed=float(noise.matrix[given].sum()),
    )


def _pairs(
    posterior: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    matrix: np.ndarray,
    whole: _Whole,
) -> list[dict[str, Any]]:
    """The most frequent confusions in expected counts [k, k], with intervals."""
    pairs = []
    for i, j in _largest(matrix):
        of_pair = posterior[labels == i, j]
        low, high = (bound * len(of_pair) for bound in whole.interval(of_pair))
        pairs.append({**_pair(matrix, classes, i, j), "low": low, "high": high})
    return pairs


def _swapped_pairs(
    matrix: np.ndarray, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """As `_pairs`; which names changed places is certain, and nothing is said beyond counts."""
    return [_pair(matrix, classes, i, j) for i, j in _largest(matrix)]


def _largest(matrix: np.ndarray) -> list[tuple[int, int]]:
    """Cells of the most frequent confusions in expected counts [k, k]."""
    # what is right is no confusion
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None)[:SHOWN]
    cells = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [(int(i), int(j)) for i, j in cells if errors[i, j] >= LEAST]


def _pair(
    matrix: np.ndarray, classes: tuple[str, ...], i: int, j: int
) -> dict[str, Any]:
    images = float(matrix[i, j])
    return {"given": classes[i], "suggested": classes[j], "images": images}
