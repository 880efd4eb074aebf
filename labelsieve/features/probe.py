"""A linear probe: logistic regression on frozen image features and the given labels, judged out of fold.

Every image is judged by a probe that has not seen it, so the answer does not know the label that is being checked.
Strength of the penalty: the one of `PENALTIES` under which held-out labels are likeliest, wrong ones included, which
needs no true labels.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings

import numpy as np

from labelsieve.cache import cache_folder
from labelsieve.data.dataset import Dataset
from labelsieve.features.cached import image_features, weights_fingerprint
from labelsieve.features.zero_shot import softmax
from labelsieve.models.encoder import DualEncoder

FOLDS = 5
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # per image, on features of unit variance
CHOOSE_ON = 5_000  # images that the penalty is chosen with
TRAIN_ON = 50_000  # images that a fold's probe learns from, at most


def out_of_fold(
    images: Dataset,
    encoder: DualEncoder,
    seed: int,
    *,
    folds: int = FOLDS,
    balanced: bool = False,
) -> np.ndarray:
    """[n, k] float32 class probabilities of every image from probes that were not trained on it. Kept in the cache.

    Args:
        balanced: every class counts the same in training, however many images it has.
    """
    kind = (
        images.fingerprint,
        images.preprocess.to_json(),
        weights_fingerprint(encoder),
        seed,
        folds,
        balanced,
    )
    path = (
        cache_folder()
        / "features"
        / f"probe-{hashlib.sha256(repr(kind).encode()).hexdigest()[:24]}.npy"
    )
    if not path.exists():
        features = np.asarray(image_features(images, encoder), dtype=np.float32)
        found = cross_validated(
            features,
            images.labels,
            len(images.classes),
            seed,
            folds=folds,
            balanced=balanced,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.partial.npy")
        np.save(scratch, found)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            scratch.replace(path)
    return np.load(path)


def cross_validated(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    *,
    folds: int = FOLDS,
    balanced: bool = False,
) -> np.ndarray:
    """`out_of_fold` of features [n, d] and labels [n], without a cache."""
    fold = split(labels, folds, seed)
    inputs = standardise(features)
    rng = np.random.default_rng([seed, folds])
    penalty = _choose_penalty(inputs, labels, classes, fold, rng, balanced)
    probs = np.zeros((len(labels), classes), dtype=np.float32)
    for number in np.unique(fold):
        train, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        chosen = _some(train, TRAIN_ON, rng)
        probs[held_out] = _predict(
            inputs[chosen], labels[chosen], inputs[held_out], classes, penalty, balanced
        )
    return probs


def linear(
    images: Dataset, encoder: DualEncoder, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, d] and biases [k] of one probe that learns from all images: softmax(f Wᵀ + b) of other images' features f."""
    features = np.asarray(image_features(images, encoder), dtype=np.float32)
    labels, classes, rng = (
        images.labels,
        len(images.classes),
        np.random.default_rng([seed, FOLDS]),
    )
    mean, size = _spread(features)
    inputs = ((features - mean) / size).astype(np.float32)
    penalty = _choose_penalty(
        inputs, labels, classes, split(labels, FOLDS, seed), rng, False
    )
    chosen = _some(np.arange(len(labels)), TRAIN_ON, rng)
    weight, bias = _fit(inputs[chosen], labels[chosen], classes, penalty, False)
    return weight / size, bias - weight @ mean / size


def split(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold [n] of each image: drawn at random, and every class is spread evenly over the folds."""
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % max(2, min(folds, len(labels)))
    return fold


def standardise(features: np.ndarray) -> np.ndarray:
    """Centred, and divided by one number, so that a feature has unit variance on average; float32."""
    mean, size = _spread(features)
    return ((features - mean) / size).astype(np.float32)


def _spread(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean [d] of features [n, d], and the root of their mean variance."""
    mean = features.mean(0, dtype=np.float64).astype(np.float32)
    return mean, max(
        float(np.sqrt(np.mean((features - mean) ** 2, dtype=np.float64))), 1e-12
    )


def _choose_penalty(
    inputs: np.ndarray,
    labels: np.ndarray,
    classes: int,
    fold: np.ndarray,
    rng: np.random.Generator,
    balanced: bool,
) -> float:
    train, held_out = (
        _some(np.flatnonzero(part), CHOOSE_ON, rng) for part in (fold != 0, fold == 0)
    )
    known = held_out[np.isin(labels[held_out], labels[train])]
    if not len(known):
        return PENALTIES[-1]

    def likelihood(penalty: float) -> float:
        probs = _predict(
            inputs[train], labels[train], inputs[known], classes, penalty, balanced
        )
        return float(
            np.log(probs[np.arange(len(known)), labels[known]].clip(1e-12)).mean()
        )

    return max(PENALTIES, key=likelihood)


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _predict(
    inputs: np.ndarray,
    labels: np.ndarray,
    wanted: np.ndarray,
    classes: int,
    penalty: float,
    balanced: bool,
) -> np.ndarray:
    """[m, k] probabilities for `wanted` [m, d]; classes that are not among `labels` get none."""
    weight, bias = _fit(inputs, labels, classes, penalty, balanced)
    return softmax(wanted @ weight.T + bias).astype(np.float32)


def _fit(
    inputs: np.ndarray, labels: np.ndarray, classes: int, penalty: float, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [k, d] and biases [k]; the bias of classes that are not among `labels` is minus infinity."""
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    weight, bias = np.zeros((classes, inputs.shape[1])), np.full(classes, -np.inf)
    bias[present] = 0
    if len(present) == 1:
        return weight, bias
    model = LogisticRegression(
        C=1 / (penalty * len(labels)),
        class_weight="balanced" if balanced else None,
        max_iter=200,
        tol=1e-3,
    )
    with warnings.catch_warnings():  # two hundred rounds are enough, converged or not
        warnings.simplefilter("ignore")
        model.fit(inputs, labels)
    learned = (
        present[1:] if len(present) == 2 else present
    )  # of two classes there is one row, for the second
    weight[learned], bias[learned] = model.coef_, model.intercept_
    return weight, bias
