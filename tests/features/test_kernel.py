"""Kernel ridge regression: against the textbook formula, and what it must not know."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.features import kernel
from labelsieve.features.probe import FOLDS, split
from labelsieve.features.zero_shot import softmax


def rings(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A class inside of another one: no plane parts them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    turned = rng.uniform(0, 2 * np.pi, n)
    radius = 1 + 2 * labels + 0.1 * rng.standard_normal(n)
    points = np.stack([radius * np.cos(turned), radius * np.sin(turned)], 1)
    return points.astype(np.float32), labels


def test_it_is_ridge_regression_with_the_kernel_of_all_pairs() -> None:
    """With every image a landmark, Nyström's answers are those of K (K + RIDGE)^-1 Y."""
    x, y = rings()
    probs, _ = kernel.learn(x, y, 2, 0)
    z = ((x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).mean())).astype(np.float64)
    distance = ((z[:, None] - z[None]) ** 2).sum(2)
    every = np.exp(-kernel.WIDTH * distance / 2)
    scores = np.zeros((len(y), 2))
    fold = split(y, FOLDS, 0)
    for f in range(FOLDS):
        rest, own = fold != f, fold == f
        base = np.eye(2)[y[rest]].mean(0)
        solved = np.linalg.solve(
            every[np.ix_(rest, rest)] + kernel.RIDGE * np.eye(rest.sum()),
            np.eye(2)[y[rest]] - base,
        )
        scores[own] = every[np.ix_(own, rest)] @ solved + base
    ratio = np.log(probs[:, 1] / probs[:, 0]) / (scores[:, 1] - scores[:, 0])
    # one sharpness for all
    assert ratio == pytest.approx(np.full(len(y), np.median(ratio)), rel=0.02)
    assert (probs.argmax(1) == y).all()


def test_no_image_is_judged_by_its_own_label() -> None:
    x, y = rings()
    other = y.copy()
    other[7] = 1 - y[7]
    # the same folds: only one label of the others changes for the fold of 7
    own = split(y, FOLDS, 0)
    seen = kernel._Seen.of(x, y, 2, 0)
    changed = kernel._Seen.of(x, other, 2, 0)
    rest = np.flatnonzero(own != own[7])
    for before, after in zip(seen.sums(rest), changed.sums(rest), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_regression_of_all_images_answers_for_others() -> None:
    x, y = rings()
    _, whole = kernel.learn(x, y, 2, 0)
    others, truth = rings(60, seed=5)
    answers = whole.answers(others)
    np.testing.assert_allclose(answers.sum(1), 1)
    assert (answers.argmax(1) == truth).mean() > 0.95
    again = kernel.Kernel(**whole.arrays())
    np.testing.assert_array_equal(again.answers(others), answers)


def test_more_images_than_landmarks_and_classes_without_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel, "LANDMARKS", 40)
    monkeypatch.setattr(kernel, "BLOCK", 17)
    x, y = rings()
    probs, whole = kernel.learn(x, y, 4, 0)
    assert len(whole.landmarks) == 40 and probs.shape == (240, 4)
    assert (probs.argmax(1) == y).mean() > 0.95
    assert np.isfinite(probs).all() and softmax(np.log(probs)).sum() == pytest.approx(
        240, rel=1e-3
    )
