"""How labels of a set come and go: probabilities of missing and extra labels, without the truth.

Each class is judged by itself. Model: a picture shows the class (z = 1) with the probability
σ(a s + b), where s is any score of picture and class that does not know the label; a shown class
lacks its label with the probability d, another one has it with the probability e:

    P(label | s) = e + (1 - d - e) σ(a s + b)

the four-parameter logistic model of test theory (Barton and Lord, "An upper asymptote for the
three-parameter logistic item-response model", ETS Research Bulletin 81-20, 1981: slipping and
guessing), and logistic regression under errors of the response (Copas, Journal of the Royal
Statistical Society B 50, 1988). The parameters are found by EM. Its asymptotes tell errors from
pictures that are hard to judge: where even the highest scores lack the label in a tenth of all
cases, a tenth is missing.

Scores are best log-odds: of those the curve is a logistic one, as it is of a score that is normal
among pictures with the class and among those without it. Of probabilities themselves it is not.

Few pictures reach the asymptotes of a weak score, and then d and e are hardly known. A weak prior
keeps them small there (`PRIOR`), and their intervals say so: all values count at which the labels
are about as likely as at the best one, other parameters adapted (the profile likelihood).

Shapes: n pictures, k classes, b bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelsieve.estimation.calibration import sigmoid

# Scores of a class are brought into so many bins: time and memory depend on n no more, and a bin
# is narrower than any score is exact.
BINS = 200
# Where nothing is known one shown class in twenty lacks its label, and one label in twenty is
# extra: as many as in well-known data sets (Northcutt et al., NeurIPS 2021, Datasets Track). It
# counts as much as one error that was seen.
PRIOR = 0.05
ROUNDS = 300  # of EM
STEPS = 3  # of Newton's method in each: the next round goes on
TOLERANCE = 1e-6  # of all parameters between two rounds
# Of slopes of standardised scores, as a variance: a steeper one changes nothing any more.
RIDGE = 0.01
LARGEST = 0.95  # share of missing or of extra labels that is believed
# Values of d, and of e relative to the labels there are, that an interval is made of.
GRID = np.array(
    [0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.27, 0.35, 0.45, 0.6, 0.75]
)
# Log-likelihoods that differ by less are about as likely: half of the 95 % quantile of χ² with one
# degree of freedom, and, since the curve is not exactly a logistic one, some per picture.
CHANCE = 1.92
DOUBT = 0.0025
# Of all pictures of a bin at once: the label is not there, or it is.
NO, YES = np.array(False), np.array(True)


@dataclass(frozen=True)
class Channel:
    """The parameters of each class.

    mean, size: [k] that scores are standardised with.
    slope, intercept: [k] a and b, for standardised scores; slope at least 0.
    dropped, added: [k] d and e.
    """

    mean: np.ndarray
    size: np.ndarray
    slope: np.ndarray
    intercept: np.ndarray
    dropped: np.ndarray
    added: np.ndarray

    def shown(self, scores: np.ndarray) -> np.ndarray:
        """[n, k] float64 probability that each picture shows each class, by the score alone."""
        standardised = (scores - self.mean) / self.size
        return sigmoid(self.slope * standardised + self.intercept)

    def posterior(self, scores: np.ndarray, given: np.ndarray) -> np.ndarray:
        """[n, k] float64 probability that each picture shows each class, given score and label.

        Args:
            scores: [n, k]. given: [n, k] bool.
        """
        return _posterior(self.shown(scores), given, self.dropped, self.added)


def _posterior(
    shown: np.ndarray, given: np.ndarray, dropped: np.ndarray, added: np.ndarray
) -> np.ndarray:
    with_class = shown * np.where(given, 1 - dropped, dropped)
    without = (1 - shown) * np.where(given, added, 1 - added)
    result: np.ndarray = with_class / (with_class + without).clip(1e-300)
    return result


@dataclass(frozen=True)
class Counts:
    """Scores and labels in bins.

    centre: [k, b] mean standardised score of each bin. labels: [k, b, 2] how many pictures of a bin
    lack the label, and how many have it. mean, size: [k] that scores were standardised with.
    """

    centre: np.ndarray
    labels: np.ndarray
    mean: np.ndarray
    size: np.ndarray


def count(scores: np.ndarray, given: np.ndarray, bins: int = BINS) -> Counts:
    """Bins of about as many pictures each, class by class.

    Args:
        scores: [n, k] finite. given: [n, k] bool.
    """
    n, k = scores.shape
    bins = max(1, min(bins, n))
    mean, size = scores.mean(0, dtype=np.float64), scores.std(0, dtype=np.float64)
    # equal scores say nothing, and cannot be divided by their spread
    size = np.where(size > 0, size, 1.0)
    centre, labels = np.zeros((k, bins)), np.zeros((k, bins, 2))
    # the bin of each place in the order of the scores
    place = np.arange(n) * bins // n
    inside = np.bincount(place, minlength=bins)
    for number in range(k):
        column = (scores[:, number].astype(np.float64) - mean[number]) / size[number]
        order = np.argsort(column, kind="stable")
        centre[number] = np.bincount(place, column[order], bins) / inside
        having = np.bincount(place, given[order, number], bins)
        labels[number] = np.stack([inside - having, having], axis=1)
    return Counts(centre, labels, mean, size)


def fit(counts: Counts) -> Channel:
    """The most likely parameters."""
    nothing = np.full((2, len(counts.labels)), np.nan)
    return _fit(counts, _start(counts), nothing, ROUNDS)


def tenable(counts: Counts, best: Channel) -> list[tuple[Channel, np.ndarray]]:
    """Parameters under which the labels are about as likely, with the classes [k] where they are.

    d, then e, takes each value of `GRID`, and the other parameters adapt.
    """
    start = np.stack([best.slope, best.intercept, best.dropped, best.added])
    doubt = np.maximum(CHANCE, DOUBT * counts.labels.sum((1, 2)))
    likeliest = log_likelihood(counts, best)
    _, once = _priors(counts)
    found = []
    for value in GRID:
        for row, fixed_value in enumerate((value, value / PRIOR * once)):
            fixed = np.full((2, len(once)), np.nan)
            fixed[row] = np.minimum(fixed_value, LARGEST)
            channel = _fit(counts, start, fixed, ROUNDS // 5)
            gap = likeliest - log_likelihood(counts, channel)
            found.append((channel, gap <= doubt))
    return found


def _start(counts: Counts) -> np.ndarray:
    """[4, k] slope, intercept, d and e that EM begins with."""
    total = counts.labels.sum(1)
    share = ((total[:, 1] + 0.5) / (total.sum(1) + 1)).clip(1e-6, 1 - 1e-6)
    slope = np.ones(len(share))
    return np.stack([slope, np.log(share / (1 - share)), *_priors(counts)])


def _priors(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """D and e [k] where nothing is known."""
    total = counts.labels.sum(1)
    # a share of the labels there are, not of all pictures: few show a rare class
    having = (total[:, 1] + 0.5) / (total[:, 0] + 0.5)
    # 0 would stay 0 in every round
    return np.full(len(total), PRIOR), (PRIOR * having).clip(1e-9, 0.5)


def _fit(counts: Counts, start: np.ndarray, fixed: np.ndarray, rounds: int) -> Channel:
    """EM; `fixed` [2, k] are d and e that stay as they are, NaN where they are free."""
    slope, intercept, dropped, added = start
    prior_dropped, prior_added = _priors(counts)
    # what is fixed is so from the first round on
    free = np.isnan(fixed)
    dropped, added = np.where(free, (dropped, added), fixed)
    lacking, having = counts.labels[..., 0], counts.labels[..., 1]
    for _ in range(rounds):
        before = np.stack([slope, intercept, dropped, added])
        shown = sigmoid(slope[:, None] * counts.centre + intercept[:, None])
        # of the pictures without the label, and of those with it, how many show the class
        columns = dropped[:, None], added[:, None]
        missing = lacking * _posterior(shown, NO, *columns)
        right = having * _posterior(shown, YES, *columns)
        expected = missing + right
        slope, intercept = _newton(counts, expected, slope, intercept)
        showing = expected.sum(1)
        # one error more than was seen, among as many as make it the prior's share
        new_dropped = (missing.sum(1) + 1) / (showing + 1 / prior_dropped)
        others = counts.labels.sum((1, 2)) - showing
        new_added = ((having - right).sum(1) + 1) / (others + 1 / prior_added)
        dropped = np.where(free[0], new_dropped, fixed[0]).clip(0, LARGEST)
        # more often with the class than without it, else the names would change places
        added = np.where(free[1], new_added, fixed[1]).clip(0, LARGEST * (1 - dropped))
        now = np.stack([slope, intercept, dropped, added])
        if np.abs(now - before).max() < TOLERANCE:
            break
    return Channel(counts.mean, counts.size, slope, intercept, dropped, added)


def _newton(
    counts: Counts, expected: np.ndarray, slope: np.ndarray, intercept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept [k] of a logistic regression on expected counts [k, b]."""
    pictures = counts.labels.sum(2)
    x = counts.centre
    for _ in range(STEPS):
        p = sigmoid(slope[:, None] * x + intercept[:, None])
        residual = expected - pictures * p
        weight = pictures * p * (1 - p)
        # a Gaussian around 0 for the slope, and next to nothing for the intercept
        toward = (
            (residual * x).sum(1) - RIDGE * slope,
            residual.sum(1) - 1e-6 * intercept,
        )
        # the second derivatives, all of one sign: there is one maximum
        aa, bb = (weight * x * x).sum(1) + RIDGE, weight.sum(1) + 1e-6
        ab = (weight * x).sum(1)
        determinant = (aa * bb - ab * ab).clip(1e-12)
        step_a = (bb * toward[0] - ab * toward[1]) / determinant
        step_b = (aa * toward[1] - ab * toward[0]) / determinant
        # far from the solution Newton's method may overshoot
        slope = (slope + step_a.clip(-2, 2)).clip(0, 50)
        intercept = (intercept + step_b.clip(-2, 2)).clip(-50, 50)
    return slope, intercept


def log_likelihood(counts: Counts, channel: Channel) -> np.ndarray:
    """[k] of all labels of each class."""
    logits = channel.slope[:, None] * counts.centre + channel.intercept[:, None]
    free = 1 - channel.dropped - channel.added
    p = channel.added[:, None] + free[:, None] * sigmoid(logits)
    # a label that cannot be would make all others of no account
    p = p.clip(1e-12, 1 - 1e-12)
    terms = counts.labels[..., 1] * np.log(p) + counts.labels[..., 0] * np.log(1 - p)
    result: np.ndarray = terms.sum(1)
    return result
