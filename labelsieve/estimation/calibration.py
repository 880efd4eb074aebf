"""Probabilities that mean what they say: temperatures, class frequencies, rankings.

Shapes: n images, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Numbers in an array [rows, k] that is made in passing; with more, rows are taken in parts.
# 32 MB of float64: larger parts are no faster.
CELLS = 4_000_000
# How far a step of an isotonic fit leans towards its neighbours: far less than half, so that the
# fit stays what it is.
LEAN = 0.05


def parts(n: int, k: int) -> list[slice]:
    """All of n rows, at most `CELLS` numbers of [n, k] at a time."""
    size = max(1, CELLS // max(k, 1))
    return [slice(start, start + size) for start in range(0, n, size)]


def of_given(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] the value of each given label, out of one per class [n, k]."""
    given: np.ndarray = values[np.arange(len(labels)), labels]
    return given


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


def logit(p: np.ndarray, least: float = 1e-12) -> np.ndarray:
    """Log p/(1 - p), float64, of probabilities brought into [least, 1 - least]."""
    # one float64 at a time: 1 - 1e-12 is no float32
    clipped = np.clip(np.asarray(p, dtype=np.float64), least, 1 - least)
    result: np.ndarray = np.log(clipped) - np.log1p(-clipped)
    return result


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z))."""
    # beyond 50 nothing changes any more, and exp would overflow at 710
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(z, -50, 50)))
    return result


def with_given(
    probs: np.ndarray, labels: np.ndarray, p_clean: np.ndarray
) -> np.ndarray:
    """[n, k] float32 posterior in which each given label has its p_clean.

    The other classes share the rest as they share it in `probs`, so no suggestion is likelier than
    that the label is wrong.

    Args:
        probs: [n, k]. labels: [n] given. p_clean: [n].
    """
    result = np.empty(probs.shape, dtype=np.float32)
    for part in parts(*probs.shape):
        block = probs[part].astype(np.float64)
        rows = np.arange(len(block))
        block[rows, labels[part]] = 0
        # where nothing is said about the others, they are alike
        block += 1e-30
        block[rows, labels[part]] = 0
        right = p_clean[part, None]
        block *= (1 - right) / block.sum(1, keepdims=True).clip(1e-300)
        block[rows, labels[part]] = right[:, 0]
        result[part] = block
    return result


def hesitation(probs: np.ndarray, labels: np.ndarray, rounds: int = 100) -> float:
    """Share of label errors that go where the probabilities of the same picture hesitate.

    By EM for three kinds of labels: the true class (drawn from q), an error that may be any other
    class, and one that is drawn from the other classes in proportion to their q. Errors of people
    are in good part of the last kind, planted ones of the second.

    Args:
        probs: q [n, k], calibrated, that do not know the labels.
        labels: [n] given.

    Returns:
        The last kind's share of both errors, [0, 1]; near 0 where there are hardly any errors.
    """
    totals = np.zeros(3)
    shares = np.array([0.8, 0.1, 0.1])  # the start; the likelihood is concave in them
    likelihoods = np.concatenate(
        [_kinds(probs[part], labels[part]) for part in parts(*probs.shape)]
    )
    for _ in range(rounds):
        joint = likelihoods * shares
        joint /= joint.sum(1, keepdims=True).clip(1e-300)
        totals = joint.mean(0)
        if np.abs(totals - shares).max() < 1e-5:
            break
        shares = totals
    # of fewer errors than a hundredth, or than ten, it cannot be said where they go
    few = 0.01 + 10 / max(len(labels), 1)
    return float(totals[2] / (totals[1] + totals[2] + few))


def _kinds(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, 3] likelihood of each label as one of the three kinds."""
    given = probs[np.arange(len(labels)), labels].astype(np.float64)
    # Σ_z≠y q_z q_y / (1 - q_z): from each class z that it may truly be
    odds = probs / (1 - probs).clip(1e-6)
    own = given / (1 - given).clip(1e-6)
    anywhere = (1 - given) / max(probs.shape[1] - 1, 1)
    return np.stack([given, anywhere, given * (odds.sum(1) - own)], axis=1)


@dataclass(frozen=True)
class Curve:
    """A rising map from a score to a probability.

    scores: [m] rising. values: [m] rising, in [0, 1]. Linear in between, constant beyond.
    """

    scores: np.ndarray
    values: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """[n] float64."""
        return np.interp(scores, self.scores, self.values)

    def thinned(self, points: int = 1_001) -> Curve:
        """The same with at most so many points, for keeping."""
        last = len(self.scores) - 1
        kept = np.unique(np.linspace(0, last, points).astype(np.int64))
        return Curve(self.scores[kept], self.values[kept])


def fit_curve(suspicion: np.ndarray, p_wrong: np.ndarray) -> Curve:
    """The rising map from a ranking to the probabilities of another judge.

    Isotonic regression (Ayer et al., Annals of Mathematical Statistics 26, 1955; the
    pool-adjacent-violators algorithm) of `p_wrong` [n] on `suspicion` [n]. Its steps alone would
    make many labels equally suspicious, and the ranking would lose what tells them apart, so each
    step leans a little towards its neighbours (`LEAN`). What n images say about few steps is not
    what one of them says, so an image is hardly judged by its own target.
    """
    from sklearn.isotonic import isotonic_regression  # slow to import

    scores, group, counts = np.unique(
        suspicion.astype(np.float64), return_inverse=True, return_counts=True
    )
    means = np.bincount(group, p_wrong) / counts
    # not quite 0 and 1, so that there is room to lean
    levels = isotonic_regression(
        means, sample_weight=counts, y_min=1e-6, y_max=1 - 1e-6
    )
    steps, step = np.unique(levels, return_inverse=True)
    # beyond the first and the last step, half way to certainty
    around = np.concatenate([[steps[0] / 2], steps, [(1 + steps[-1]) / 2]])
    size = np.bincount(step)
    within = (np.arange(len(scores)) - (np.cumsum(size) - size)[step] + 0.5) / size[
        step
    ]
    # from -1 at the beginning of a step to 1 at its end
    place = 2 * within - 1
    below = (steps - around[:-2])[step]
    above = (around[2:] - steps)[step]
    gap = np.where(place < 0, below, above)
    return Curve(scores, levels + LEAN * place * gap)
