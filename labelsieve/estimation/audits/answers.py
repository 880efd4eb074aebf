"""What answers of people say about the labels that nobody has looked at yet.

A scan gives each label i a probability p_i of being wrong. What people find out corrects it:

    P(wrong_i) = σ(logit p_i + f_i),    f a Gaussian process with mean 0,

so that without answers the scan's probabilities stay as they are. f says where the scan is off: on
the whole, for labels about as suspicious, for a given label, a suggested one or a pair of both, for
pictures of a pair that look alike, and where a linear classifier of the pictures (`second_opinion`)
is of another mind. Its covariance is a sum of these (`Kernel`), so that an answer tells most about
its like, and what no answer speaks of keeps the scan's word. All but the first fade for labels that
are more or less suspicious: reviewing the most suspicious ones says little about those that look
right; a random audit does.

f at the answers is found by Laplace's approximation (Rasmussen and Williams, "Gaussian Processes
for Machine Learning", 2006, algorithm 3.1), elsewhere it is its conditional mean. Images that were
chosen because they looked suspicious do no harm: given p and the picture, the choice is not
informative. Which class is right instead is learned by counts per pair (`Learner.others`).

Shapes: n labels, m of them answered, k classes, d width of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from labelsieve.estimation.calibration import logit, of_given, parts, sigmoid


@dataclass(frozen=True)
class Kernel:
    """Standard deviations of f, as logits, and the lengths over which it changes.

    Chosen by errors found and calibration of the rest on `random_label1` of CIFAR-10N, rows 0 to
    7,999, two towers, several methods (benchmarks/bench_reviewing.py).
    """

    everywhere: float = 0.3
    suspicion: float = 0.6
    suspicion_length: float = 2.0  # of logit p; what fades, fades over this
    given: float = 0.3
    suggested: float = 0.3
    pair: float = 0.5
    second_opinion: float = 0.7  # for one standard deviation of it
    alike: float = 1.0
    alike_length: float = 0.1  # of cosines
    # Probabilities of exactly 0 and 1 would be infinitely sure.
    least: float = 1e-4


# Answers that are learned from at once: more would take seconds. The latest, and some of the others
# evenly, so that a random audit at the beginning is not forgotten.
LATEST = 700
EARLIER = 500
WIDTH = 48  # of features in the comparison of pictures, by random projection: bounds the time
RIDGE_WIDTH = 256  # of features in the second opinion, likewise
PENALTY = 0.1  # of the ridge, in units of the features' mean variance
GRID = np.linspace(-10, 10, 201)  # logits at which the part for suspicion is computed
# Answers per pair that the scan's word on the right class is worth.
WORTH = 3.0


class Rows(Protocol):
    """An array [n, d], or what is read from the disk a part at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, part: slice, /) -> Any: ...


@dataclass(frozen=True)
class Answers:
    """What people said about m labels, oldest first.

    rows: [m] int64. wrong: [m] bool. label: [m] int64, the right class, -1 where it is not known
    or is none of the classes.
    """

    rows: np.ndarray
    wrong: np.ndarray
    label: np.ndarray

    def thinned(self) -> Answers:
        """Those that are learned from."""
        older = max(0, len(self.rows) - LATEST)
        kept = np.arange(older, len(self.rows))
        if older:
            some = np.linspace(0, older - 1, min(EARLIER, older)).astype(np.int64)
            kept = np.concatenate([some, kept])
        return Answers(self.rows[kept], self.wrong[kept], self.label[kept])


class Learner:
    """Corrects probabilities by answers; what does not depend on them is computed once.

    Args:
        p_wrong: [n] of the scan.
        given: [n] int64, labels.
        suggested: [n] int64, the likeliest other class.
        features: [n, d] of length one; None: look-alikes are not compared.
    """

    def __init__(
        self,
        p_wrong: np.ndarray,
        given: np.ndarray,
        suggested: np.ndarray,
        features: Rows | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        self.kernel = kernel or Kernel()
        self.scored = logit(p_wrong)
        self.logits = logit(p_wrong, self.kernel.least)
        self.given = given
        self.suggested = suggested
        codes = given.astype(np.int64) * (int(suggested.max(initial=0)) + 1) + suggested
        # pairs that occur, numbered: all of them would be k² of thousands of classes
        self.pair: np.ndarray = np.unique(codes, return_inverse=True)[1]
        self._features = None
        self.second = np.zeros(len(given))
        if features is not None:
            self._features = _narrow(features, WIDTH)
            self.second = second_opinion(features, given)
        order = np.argsort(self.pair, kind="stable")
        starts = np.flatnonzero(np.diff(self.pair[order], prepend=-1))
        self._of_pair = np.split(order, starts[1:])

    def p_wrong(self, answers: Answers) -> np.ndarray:
        """[n] float64 probability that each label is wrong."""
        some = answers.thinned()
        if not len(some.rows):
            return sigmoid(self.scored)
        weights = _laplace(
            self._covariance(some.rows), self.logits[some.rows], some.wrong * 1.0
        )
        # of the scores as they are, so that the order of what is quite sure stays
        return sigmoid(self.scored + self._mean(some.rows, weights))

    def _covariance(self, rows: np.ndarray) -> np.ndarray:
        """[m, m] of f at the answers."""
        kernel = self.kernel
        second = self.second[rows]
        local: np.ndarray = kernel.suspicion**2 + kernel.second_opinion**2 * np.outer(
            second, second
        )
        for of, scale in self._groups():
            local += scale**2 * (of[rows][:, None] == of[rows])
        if self._features is not None:
            known = self._features[rows]
            pair = self.pair[rows][:, None] == self.pair[rows]
            local += np.where(pair, self._alike(known, known), 0)
        logits = self.logits[rows]
        return kernel.everywhere**2 + local * self._near(logits, logits)

    def _groups(self) -> tuple[tuple[np.ndarray, float], ...]:
        kernel = self.kernel
        return (
            (self.given, kernel.given),
            (self.suggested, kernel.suggested),
            (self.pair, kernel.pair),
        )

    def _near(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[r, m] 1 for labels that are equally suspicious, less the more they differ."""
        gap = (a[:, None] - b) / self.kernel.suspicion_length
        values: np.ndarray = np.exp(-0.5 * gap**2)
        return values

    def _alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        kernel = self.kernel
        values: np.ndarray = np.exp((a @ b.T - 1) / kernel.alike_length)
        return kernel.alike**2 * values

    def _mean(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[n] mean of f: covariance with the answers times weights [m], without the matrix."""
        kernel = self.kernel
        # all but the look-alikes depend on the logit alone within a group: a table of few logits
        near = self._near(self.logits[rows], GRID) * weights[:, None]
        mean = np.full(len(self.logits), kernel.everywhere**2 * weights.sum())
        mean += kernel.suspicion**2 * np.interp(self.logits, GRID, near.sum(0))
        by_second = np.interp(self.logits, GRID, self.second[rows] @ near)
        mean += kernel.second_opinion**2 * self.second * by_second
        for of, scale in self._groups():
            mean += scale**2 * self._of_group(of, rows, near)
        if self._features is not None:
            self._add_alike(mean, rows, weights, self._features)
        return mean

    def _of_group(
        self, of: np.ndarray, rows: np.ndarray, near: np.ndarray
    ) -> np.ndarray:
        """[n] sums of `near` [m, grid] over the answers of each label's group, at its logit."""
        groups, number = np.unique(of[rows], return_inverse=True)
        # the last row stays zero: groups without an answer
        table = np.zeros((len(groups) + 1, len(GRID)))
        np.add.at(table, number, near)
        place = np.searchsorted(groups, of).clip(max=len(groups) - 1)
        place = np.where(groups[place] == of, place, len(groups))
        # linear between the points of the grid, which are evenly spread
        exact = (self.logits - GRID[0]) / (GRID[1] - GRID[0])
        below = exact.astype(np.int64)
        part = exact - below
        result: np.ndarray = (1 - part) * table[place, below]
        result += part * table[place, below + 1]
        return result

    def _add_alike(
        self,
        mean: np.ndarray,
        rows: np.ndarray,
        weights: np.ndarray,
        features: np.ndarray,
    ) -> None:
        # pictures of other pairs are not compared, which leaves few of all n · m
        for number in np.unique(self.pair[rows]):
            judged = np.flatnonzero(self.pair[rows] == number)
            members = self._of_pair[number]
            alike = self._alike(features[members], features[rows[judged]])
            alike *= self._near(self.logits[members], self.logits[rows[judged]])
            mean[members] += alike @ weights[judged]

    def others(self, posterior: np.ndarray, answers: Answers) -> np.ndarray:
        """[k, k] factors on the probabilities of other classes, by given label (row).

        How often each class was right where the label was wrong, against how often the scan
        expected it: (counted + w e) / (expected + w e), e the scan's share of the class among the
        other classes of this label, w = `WORTH`.

        Args:
            posterior: [n, k].
        """
        k = posterior.shape[1]
        known = answers.wrong & (answers.label >= 0)
        given = self.given[answers.rows[known]]
        probs = posterior[answers.rows[known]].astype(np.float64)
        probs[np.arange(len(given)), given] = 0
        probs /= probs.sum(1, keepdims=True).clip(1e-30)
        factors = np.ones((k, k))
        for label in np.unique(given):
            of_label = given == label
            expected = probs[of_label].sum(0)
            counted = np.bincount(answers.label[known][of_label], minlength=k)
            base = WORTH * expected / of_label.sum() + 1e-3
            factors[label] = (counted + base) / (expected + base)
        return factors


def second_opinion(features: Rows, given: np.ndarray) -> np.ndarray:
    """[n] how much a linear classifier prefers another class to each given label, standardised.

    Ridge regression of the labels on the features, each image judged without its own label: the
    residual of leaving one out follows from the hat matrix (Allen, Technometrics 16, 1974), so it
    costs one product of matrices. The score is that of the best other class less that of the label.
    """
    inputs = _narrow(features, RIDGE_WIDTH)
    inputs -= inputs.mean(0)
    labels = np.unique(given, return_inverse=True)[1]
    n, k = len(labels), int(labels.max(initial=0)) + 1
    if n < 2 or k < 2:
        return np.zeros(n)
    gram = (inputs.T @ inputs).astype(np.float64)
    gram[np.diag_indices_from(gram)] += PENALTY * np.trace(gram) / len(gram)
    weights = np.linalg.inv(gram).astype(np.float32)
    # Σ x over the images of each label; the mean of its indicator is its share
    sums = np.zeros((k, inputs.shape[1]), dtype=np.float32)
    np.add.at(sums, labels, inputs)
    share = np.bincount(labels, minlength=k) / n
    gap = np.empty(n)
    for part in parts(n, k + inputs.shape[1]):
        hats = inputs[part] @ weights
        own = (hats * inputs[part]).sum(1) + 1 / n
        scores = hats @ sums.T + share
        rows = np.arange(len(hats))
        scores[rows, labels[part]] -= own
        scores /= (1 - own)[:, None].clip(1e-6)
        right = of_given(scores, labels[part])
        scores[rows, labels[part]] = -np.inf
        gap[part] = scores.max(1) - right
    result: np.ndarray = (gap - gap.mean()) / max(float(gap.std()), 1e-12)
    return result


def _narrow(features: Rows, width: int) -> np.ndarray:
    """[n, width] float32 of length one: a random projection keeps cosines, roughly.

    Johnson and Lindenstrauss, 1984; the same one each time. A new array.
    """
    n, d = features.shape
    rng = np.random.default_rng(0)
    projection = rng.standard_normal((d, width)).astype(np.float32)
    narrow = np.empty((n, min(d, width)), dtype=np.float32)
    # in parts: all features of a million images are gigabytes
    for part in parts(n, d):
        block = np.asarray(features[part], dtype=np.float32)
        if d > width:
            block = block @ projection
            block /= np.linalg.norm(block, axis=1, keepdims=True).clip(1e-12)
        narrow[part] = block
    return narrow


def _laplace(
    covariance: np.ndarray, offset: np.ndarray, wrong: np.ndarray
) -> np.ndarray:
    """[m] weights: the most probable f is covariance @ weights (algorithm 3.1 there).

    Args:
        covariance: [m, m]. offset: [m] logits of the scan. wrong: [m] 0 or 1.
    """
    f = np.zeros(len(offset))
    weights = f
    height = _height(f, weights, offset, wrong)
    for _ in range(50):
        step = _newton(covariance, f, offset, wrong) - weights
        # far from the solution Newton's method overshoots: half the way, until it climbs
        for halving in range(30):
            trial = weights + step / 2**halving
            reached = covariance @ trial
            new = _height(reached, trial, offset, wrong)
            if new >= height:
                break
        moved = float(np.abs(reached - f).max())
        weights, f, height = trial, reached, new
        # a thousandth of a logit is a quarter of a thousandth of a probability
        if moved < 1e-3:
            break
    return weights


def _height(
    f: np.ndarray, weights: np.ndarray, offset: np.ndarray, wrong: np.ndarray
) -> float:
    """Logarithm of the posterior density of f, but for a constant."""
    z = offset + f
    return float((wrong * z - np.logaddexp(0, z)).sum() - weights @ f / 2)


def _newton(
    covariance: np.ndarray, f: np.ndarray, offset: np.ndarray, wrong: np.ndarray
) -> np.ndarray:
    """[m] weights after a step of Newton's method from f."""
    p = sigmoid(offset + f)
    # of the likelihood; never quite 0, so that the matrix below is regular
    curvature = (p * (1 - p)).clip(1e-6)
    root = np.sqrt(curvature)
    wanted = curvature * f + wrong - p
    matrix = root[:, None] * covariance * root
    matrix[np.diag_indices_from(matrix)] += 1
    # the first page of a review learns nothing and need not wait for it
    from scipy.linalg import cho_solve, cholesky

    lower = cholesky(matrix, lower=True, check_finite=False)
    solved = cho_solve((lower, True), root * (covariance @ wanted))
    weights: np.ndarray = wanted - root * solved
    return weights
