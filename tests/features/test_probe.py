from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.features import probe
from labelsieve.features.task import Task


def blobs(
    n: int = 90, k: int = 3, d: int = 5, spread: float = 0.4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return (3 * rng.standard_normal((k, d)) + 7)[labels] + spread * rng.standard_normal(
        (n, d)
    ), labels


def seen_answers(
    inputs: np.ndarray, labels: np.ndarray, classes: int, penalty: float
) -> np.ndarray:
    """Answers of a probe to what it was trained on."""
    kind = probe._Kind(classes, balanced=False)
    return probe._answers(inputs, *probe._fit(inputs, labels, penalty, kind))


def penalty_of(inputs: np.ndarray, labels: np.ndarray) -> float:
    fold = probe.split(labels, 5, 0)
    rng = np.random.default_rng(0)
    return probe._choose_penalty(inputs, labels, fold, rng, probe._Kind(3, False))


def test_folds_spread_every_class_evenly() -> None:
    labels = np.array([0] * 20 + [1] * 11 + [2] * 3 + [3])
    fold = probe.split(labels, 5, 0)
    for label in range(4):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(fold, probe.split(labels, 5, 0)) and not np.array_equal(
        fold, probe.split(labels, 5, 1)
    )
    assert set(probe.split(np.array([0, 1]), 5, 0)) == {0, 1}


def test_nobody_is_judged_by_a_probe_that_knew_the_label() -> None:
    """Labels without meaning: held-out answers agree with them no more than by chance."""
    rng = np.random.default_rng(0)
    features, labels = (
        rng.standard_normal((200, 100)).astype(np.float32),
        rng.integers(0, 4, 200),
    )
    probs = probe.cross_validated(features, labels, 4, 0)
    assert (probs.argmax(1) == labels).mean() < 0.35
    inside = seen_answers(probe.standardise(features), labels, 4, 1e-3)
    assert (inside.argmax(1) == labels).mean() > 0.9


def test_it_is_logistic_regression_of_the_other_folds() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs(spread=3.0)
    probs = probe.cross_validated(features.astype(np.float32), labels, 3, 0, folds=3)
    fold, inputs = (
        probe.split(labels, 3, 0),
        probe.standardise(features.astype(np.float32)),
    )
    fits = []
    for penalty in probe.PENALTIES:
        model = LogisticRegression(
            C=1 / (penalty * (fold != 1).sum()), max_iter=1000
        ).fit(inputs[fold != 1], labels[fold != 1])
        fits.append(
            np.abs(model.predict_proba(inputs[fold == 1]) - probs[fold == 1]).max()
        )
    assert min(fits) < 0.02 < sorted(fits)[1]
    assert np.allclose(probs.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2], [1]])
def test_weights_give_the_probabilities_of_logistic_regression(
    classes: list[int],
) -> None:
    """Of three classes, of two (scikit-learn has one row for them), and of one."""
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs(spread=3.0)
    inputs, labels = (
        features[np.isin(labels, classes)],
        labels[np.isin(labels, classes)],
    )
    weight, bias = probe._fit(inputs, labels, 1e-2, probe._Kind(3, False))
    logits = inputs @ weight.T + bias
    found = np.exp(logits - logits.max(1, keepdims=True))
    found /= found.sum(1, keepdims=True)
    assert (found[:, [c for c in range(3) if c not in classes]] == 0).all()
    if len(classes) > 1:
        model = LogisticRegression(
            C=1 / (1e-2 * len(labels)), max_iter=200, tol=1e-3
        ).fit(inputs, labels)
        np.testing.assert_allclose(
            found[:, classes], model.predict_proba(inputs), rtol=1e-6, atol=1e-12
        )


def test_a_probe_of_all_images_takes_features_as_they_are(
    tiny: Any, labelled: Callable[..., Any], digits: Any
) -> None:
    """Its weights hold what `standardise` does: the same answers as from standardised features."""
    pictures, truth = digits
    images = labelled(tiny.preprocess, pictures[:120], truth[:120])
    features = np.asarray(Task(images, tiny).image_features(), dtype=np.float32)
    k = len(images.classes)
    weight, bias = probe.linear(features, images.labels, k, 0)
    inputs = probe.standardise(features)
    likely = []
    for penalty in probe.PENALTIES:
        inside = seen_answers(inputs, images.labels, k, penalty)
        logits = features @ weight.T + bias
        given = np.exp(logits - logits.max(1, keepdims=True))
        likely.append(np.abs(given / given.sum(1, keepdims=True) - inside).max())
    assert min(likely) < 1e-4 < sorted(likely)[1]


def test_meaningless_features_get_the_strongest_penalty() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, 50)).astype(np.float32)
    labels = rng.integers(0, 3, 300)
    assert penalty_of(noise, labels) == probe.PENALTIES[-1]
    features, labels = blobs(300)
    inputs = probe.standardise(features.astype(np.float32))
    assert penalty_of(inputs, labels) == probe.PENALTIES[0]


def test_balanced_classes_count_the_same() -> None:
    features, labels = blobs(400, k=2, spread=4.0)
    rare = (labels == 0) | (np.arange(400) < 80)
    features, labels = features[rare].astype(np.float32), labels[rare]
    plain, balanced = (
        probe.cross_validated(features, labels, 2, 0, balanced=b) for b in (False, True)
    )
    assert balanced[:, 1].mean() > plain[:, 1].mean() + 0.03


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [0, 2, 2, 2, 2, 2]])
def test_tiny_data_and_absent_classes(labels: list[int]) -> None:
    given = np.array(labels)
    features = (
        np.random.default_rng(0).standard_normal((len(given), 4)).astype(np.float32)
    )
    probs = probe.cross_validated(features, given, 3, 0)
    assert np.isfinite(probs).all() and np.allclose(probs.sum(1), 1, atol=1e-5)


def test_standardising_ignores_place_and_scale() -> None:
    features, _ = blobs()
    moved = probe.standardise((5 * features + 9).astype(np.float32))
    assert np.allclose(moved, probe.standardise(features.astype(np.float32)), atol=1e-3)
    assert np.mean(moved**2) == pytest.approx(1, rel=1e-3) and np.allclose(
        moved.mean(0), 0, atol=1e-4
    )
