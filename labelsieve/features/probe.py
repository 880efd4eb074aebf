"""A linear probe: logistic regression on frozen features and given labels, judged out of fold.

Every image is judged by a probe that has not seen it, so the answer does not know the label
that is being checked. The strength of the penalty is the one of `PENALTIES` under which
held-out labels are likeliest, wrong ones included, which needs no true labels.

Shapes: n images, d features, k classes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from labelsieve.estimation.calibration import sigmoid
from labelsieve.features.zero_shot import softmax

FOLDS = 5
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # per image, on features of unit variance
# Images that the penalty is chosen with, and that a fold's probe learns from, at most: they
# bound the time on large data sets.
CHOOSE_ON = 5_000
TRAIN_ON = 50_000
# Of L-BFGS; this many iterations are enough for answers, whether it has converged or not.
ITERATIONS = 200
AT_ONCE = 16_384  # images that are standardised at once: 64 MB of 512 numbers, twice
TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Kind:
    """What all probes of one data set have in common."""

    classes: int
    balanced: bool  # every class counts the same in training


def cross_validated(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    *,
    folds: int = FOLDS,
    balanced: bool = False,
) -> np.ndarray:
    """[n, k] float32 class probabilities of each image from probes that were not trained on it.

    Args:
        features: [n, d] float32.
        labels: [n] int64.
        balanced: every class counts the same in training, however many images it has.
    """
    kind = _Kind(classes, balanced)
    fold = split(labels, folds, seed)
    inputs = Standardised(features, *spread(features))
    rng = np.random.default_rng([seed, folds])
    penalty = _choose_penalty(inputs, labels, fold, rng, kind)
    probs = np.zeros((len(labels), classes), dtype=np.float32)
    for number in np.unique(fold):
        held_out = np.flatnonzero(fold == number)
        rows = _some(np.flatnonzero(fold != number), TRAIN_ON, rng)
        weight, bias = _fit(inputs[rows], labels[rows], penalty, kind)
        for part in _parts(held_out):
            probs[part] = _answers(inputs[part], weight, bias)
    return probs


def linear(
    features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, d] and biases [k] float64 of one probe of all images, for other images.

    Their answers are softmax(f Wᵀ + b) of features f [m, d] as they are.
    """
    kind = _Kind(classes, balanced=False)
    rng = np.random.default_rng([seed, FOLDS])
    mean, size = spread(features)
    inputs = Standardised(features, mean, size)
    penalty = _choose_penalty(inputs, labels, split(labels, FOLDS, seed), rng, kind)
    rows = _some(np.arange(len(labels)), TRAIN_ON, rng)
    weight, bias = _fit(inputs[rows], labels[rows], penalty, kind)
    # the standardisation becomes part of the weights
    return weight / size, bias - weight @ mean / size


def split(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold [n] int64 of each image: random, with every class spread evenly over the folds."""
    chance = np.random.default_rng(seed).random(len(labels))
    order = np.lexsort((chance, labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % max(2, min(folds, len(labels)))
    return fold


class Standardised:
    """Features [n, d], centred and divided by one number: unit variance on average.

    Computed of the rows that are asked for, as there may be gigabytes of them in a mapped file.
    """

    def __init__(self, features: np.ndarray, mean: np.ndarray, size: float) -> None:
        self._features = features
        self._mean = mean
        self._size = size

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Some rows [m]: [m, d] float32."""
        chosen = np.asarray(self._features[rows], dtype=np.float32)
        return ((chosen - self._mean) / self._size).astype(np.float32)


def standardise(features: np.ndarray) -> np.ndarray:
    """[n, d] float32, centred and divided by one number: unit variance on average."""
    return Standardised(features, *spread(features))[np.arange(len(features))]


def spread(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean [d] of features [n, d], and the root of their mean variance."""
    n, width = features.shape
    total = np.zeros(width)
    for part in _parts(np.arange(n)):
        # sums of many float32 numbers lose digits
        total += features[part].sum(0, dtype=np.float64)
    mean = (total / n).astype(np.float32)
    squares = 0.0
    for part in _parts(np.arange(n)):
        squares += float(((features[part] - mean) ** 2).sum(dtype=np.float64))
    return mean, max(float(np.sqrt(squares / (n * width))), 1e-12)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """Rows [m] in pieces that are standardised at once."""
    return [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]


def _choose_penalty(
    inputs: Standardised,
    labels: np.ndarray,
    fold: np.ndarray,
    rng: np.random.Generator,
    kind: _Kind,
) -> float:
    """The one under which the labels of the first fold are likeliest."""
    train = _some(np.flatnonzero(fold != 0), CHOOSE_ON, rng)
    held_out = _some(np.flatnonzero(fold == 0), CHOOSE_ON, rng)
    # a label that the probe has never seen is unlikely under every penalty
    known = held_out[np.isin(labels[held_out], labels[train])]
    if not len(known):
        return PENALTIES[-1]

    def likelihood(penalty: float) -> float:
        weight, bias = _fit(inputs[train], labels[train], penalty, kind)
        probs = _answers(inputs[known], weight, bias)
        given = probs[np.arange(len(known)), labels[known]]
        return float(np.log(given.clip(1e-12)).mean())

    return max(PENALTIES, key=likelihood)


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _answers(inputs: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[m, k] float32 probabilities; classes that the probe was not trained on get none."""
    return softmax(inputs @ weight.T + bias).astype(np.float32)


def _fit(
    inputs: np.ndarray, labels: np.ndarray, penalty: float, kind: _Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, d] and biases [k]; minus infinity is the bias of classes not among `labels`."""
    # here, because importing scikit-learn is slow and most commands do not need it
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    weight = np.zeros((kind.classes, inputs.shape[1]))
    bias = np.full(kind.classes, -np.inf)
    bias[present] = 0
    if len(present) == 1:
        return weight, bias
    model = LogisticRegression(
        # scikit-learn's C is the inverse of a penalty on the sum, not on the mean
        C=1 / (penalty * len(labels)),
        class_weight="balanced" if kind.balanced else None,
        max_iter=ITERATIONS,
        tol=TOLERANCE,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model.fit(inputs, labels)
    # of two classes scikit-learn has one row, for the second
    learned = present[1:] if len(present) == 2 else present
    weight[learned] = model.coef_
    bias[learned] = model.intercept_
    return weight, bias


# --- sets of labels: each class by itself, all at once


def cross_validated_sets(
    features: np.ndarray, given: np.ndarray, seed: int, *, folds: int = FOLDS
) -> np.ndarray:
    """[n, k] float32 probability that each image has each label, by probes that have not seen it.

    Args:
        features: [n, d] float32.
        given: [n, k] bool.
    """
    n = len(given)
    # sets have no one class to spread over the folds: at random
    fold = split(np.zeros(n, dtype=np.int64), folds, seed)
    inputs = Standardised(features, *spread(features))
    rng = np.random.default_rng([seed, folds])
    penalty = _choose_set_penalty(inputs, given, fold, rng)
    probs = np.zeros(given.shape, dtype=np.float32)
    for number in np.unique(fold):
        held_out = np.flatnonzero(fold == number)
        rows = _some(np.flatnonzero(fold != number), TRAIN_ON, rng)
        weight, bias = _fit_sets(inputs[rows], given[rows], penalty)
        for part in _parts(held_out):
            probs[part] = sigmoid(inputs[part] @ weight.T + bias)
    return probs


def _choose_set_penalty(
    inputs: Standardised, given: np.ndarray, fold: np.ndarray, rng: np.random.Generator
) -> float:
    """As `_choose_penalty`."""
    train = _some(np.flatnonzero(fold != 0), CHOOSE_ON, rng)
    held_out = _some(np.flatnonzero(fold == 0), CHOOSE_ON, rng)

    def likelihood(penalty: float) -> float:
        weight, bias = _fit_sets(inputs[train], given[train], penalty)
        probs = sigmoid(inputs[held_out] @ weight.T + bias)
        said = np.where(given[held_out], probs, 1 - probs)
        return float(np.log(said.clip(1e-12)).mean())

    return max(PENALTIES, key=likelihood)


def _fit_sets(
    inputs: np.ndarray, given: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, d] and biases [k] of k logistic regressions, found together."""
    from scipy.optimize import minimize  # slow to import

    (n, d), k = inputs.shape, given.shape[1]
    target = given.astype(np.float32)
    # all classes at once: one product of matrices a step, where k fits would take k

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: k * d].reshape(k, d), flat[k * d :]
        logits = inputs @ weight.T.astype(np.float32) + bias.astype(np.float32)
        # log(1 + exp z) - y z, which does not overflow
        total = float((np.logaddexp(0, logits) - target * logits).sum(dtype=np.float64))
        gradient = (sigmoid(logits) - target) / n
        of_weight = gradient.T @ inputs + penalty * weight
        value = total / n + 0.5 * penalty * float((weight**2).sum())
        both = np.concatenate([of_weight.reshape(-1), gradient.sum(0)])
        return value, both.astype(np.float64)

    # from the frequencies, so that rare classes begin near where they end
    share = ((given.sum(0) + 0.5) / (n + 1)).clip(1e-6, 1 - 1e-6)
    start = np.concatenate([np.zeros(k * d), np.log(share / (1 - share))])
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    )
    return found.x[: k * d].reshape(k, d), found.x[k * d :]
