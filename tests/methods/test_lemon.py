from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from labelsieve.methods import lemon

SETTINGS = lemon.Settings(neighbours=5, tau_distance=0.7)


def case(
    n: int = 30, d: int = 6, k: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, d], cosines with texts [n, k], labels [n]."""
    rng = np.random.default_rng(seed)
    features, texts = rng.standard_normal((n, d)), rng.standard_normal((k, d))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return (
        features.astype(np.float32),
        (features @ texts.T).astype(np.float32),
        rng.integers(0, k, n),
    )


def naive(
    features: np.ndarray, cosines: np.ndarray, labels: np.ndarray, s: lemon.Settings
) -> np.ndarray:
    """The equations of the module's docstring, term by term."""
    n, k = cosines.shape
    found = np.zeros((n, k))
    for i in range(n):
        distance = [1 - features[i] @ features[j] for j in range(n)]
        near = sorted((j for j in range(n) if j != i), key=lambda j: distance[j])[
            : s.neighbours
        ]
        for y in range(k):
            s_n = [
                (y != labels[j])
                * np.exp(-s.tau_distance * distance[j])
                * np.exp(-s.tau_doubt * (1 - cosines[j, labels[j]]))
                for j in near
            ]
            same = [j for j in range(n) if j != i and labels[j] == y]
            s_m = [
                distance[j] * np.exp(-s.tau_doubt * (1 - cosines[j, labels[j]]))
                for j in same
            ]
            found[i, y] = (
                1 - cosines[i, y] + s.beta * np.mean(s_n) + s.gamma * np.mean(s_m)
            )
    return found


def test_scores_are_the_papers() -> None:
    assert np.allclose(
        lemon.scores(*case(), SETTINGS), naive(*case(), SETTINGS), atol=1e-5
    )


def test_without_neighbours_it_is_the_distance_to_the_text(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=6, noise=60.0)
    answer = planted.task.zero_shot()
    found = planted.detect(lemon, beta=0.0, gamma=0.0)
    assert np.allclose(
        found.columns["lemon_score"],
        1 - answer.cosines[np.arange(24), planted.images.labels],
        atol=1e-6,
    )


def test_without_weights_neighbours_count_disagreement() -> None:
    features, cosines, labels = case()
    flat = replace(SETTINGS, beta=1.0, gamma=0.0, tau_distance=0.0, tau_doubt=0.0)
    share = lemon.scores(features, cosines, labels, flat) - (1 - cosines)
    assert np.allclose(share * 5, np.round(share * 5), atol=1e-4)
    assert share.min() >= -1e-6 and share.max() <= 1 + 1e-6 and np.ptp(share) > 0.5


def test_order_of_the_rows_changes_nothing() -> None:
    features, cosines, labels = case()
    order = np.random.default_rng(1).permutation(len(labels))
    moved = lemon.scores(features[order], cosines[order], labels[order], SETTINGS)
    assert np.allclose(
        moved, lemon.scores(features, cosines, labels, SETTINGS)[order], atol=1e-6
    )


def test_a_far_cluster_of_another_class_changes_no_score_of_the_others() -> None:
    features, cosines, labels = case()
    features = features + 3 * features.mean(0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    far = np.tile(-features.mean(0) / np.linalg.norm(features.mean(0)), (8, 1))
    alone = lemon.scores(features, cosines, labels, SETTINGS)
    more = np.vstack([np.pad(cosines, ((0, 0), (0, 1))), np.zeros((8, 4))])
    together = lemon.scores(
        np.vstack([features, far]), more, np.append(labels, np.full(8, 3)), SETTINGS
    )
    assert np.allclose(together[:30, :3], alone, atol=1e-5)


def test_a_lone_label_is_neutral_among_the_same_label() -> None:
    features, cosines, labels = case()
    labels = np.where(labels == 2, 1, labels)
    labels[4] = 2
    every = lemon.scores(features, cosines, labels, replace(SETTINGS, beta=0.0)) - (
        1 - cosines
    )
    assert every[4, 2] == pytest.approx(every[4, :2].mean(), rel=1e-5)


def test_valley_is_where_the_density_dips() -> None:
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(0, 1, 800), rng.normal(8, 1, 200)])
    assert 3 < lemon.valley(two, 0) < 6
    one = rng.normal(
        5, 1, 4000
    )  # no dip in the middle: then about the peak, the median of the maxima
    assert lemon.valley(np.full(9, 0.3), 0) == pytest.approx(0.3)
    assert 0 < lemon.valley(one, 0) < 10


def test_own_rule_flags_beyond_the_valley(plant: Callable[..., Any]) -> None:
    planted = plant()
    found = planted.detect(lemon)
    scores = found.columns["lemon_score"]
    assert np.array_equal(found.flagged, scores > lemon.valley(scores, 0))
    features = np.asarray(planted.task.image_features())
    every = lemon.scores(
        features,
        planted.task.zero_shot().cosines,
        planted.images.labels,
        lemon.Settings(),
    )
    assert np.allclose(scores, every[np.arange(120), planted.images.labels])
    assert np.array_equal(
        found.suggested[~found.flagged], every.argmin(1)[~found.flagged]
    )
