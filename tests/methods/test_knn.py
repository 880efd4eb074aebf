from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from labelsieve.errors import OptionError
from labelsieve.methods import knn


@pytest.mark.parametrize("weights", ["cosine", "equal"])
def test_votes_are_those_counted_one_by_one(
    weights: str, plant: Callable[..., Any]
) -> None:
    planted = plant(each=6, noise=60.0)
    features, labels = (
        np.array(planted.task.image_features(), dtype=np.float64),
        planted.images.labels,
    )
    wanted = np.zeros((len(labels), 4))
    for i in range(len(labels)):
        others = [(features[i] @ features[j], j) for j in range(len(labels)) if j != i]
        for cosine, j in sorted(others, reverse=True)[:5]:
            wanted[i, labels[j]] += max(cosine, 1e-6) if weights == "cosine" else 1
    wanted /= wanted.sum(1, keepdims=True)
    found = planted.detect(knn, neighbours=5, weights=weights, flags="own")
    given = wanted[np.arange(len(labels)), labels]
    assert np.allclose(found.columns["score"], given, atol=1e-5)
    assert np.array_equal(
        found.flagged, wanted.max(1) > wanted[np.arange(len(labels)), labels] + 1e-9
    )


def test_a_label_has_no_say_about_itself(plant: Callable[..., Any]) -> None:
    planted = plant(each=6)
    # as each of the four classes, so the votes for all of them: they sum to one
    scores = []
    for label in range(4):
        planted.images.labels[0] = label
        again = planted.elsewhere(planted.task.folder / str(label))
        scores.append(again.detect(knn, neighbours=5).columns["score"][0])
    assert sum(scores) == pytest.approx(1)


def test_there_must_be_a_neighbour() -> None:
    with pytest.raises(OptionError, match="neighbours cannot be 0"):
        knn.Settings(neighbours=0)


def naive_posterior(
    votes: np.ndarray, labels: np.ndarray, rounds: int = knn.ROUNDS
) -> np.ndarray:
    """Preset bayes, label by label."""
    n, k = votes.shape
    shown = np.zeros((n, k))
    for i in range(n):
        for j in range(k):
            shown[i, j] = votes[i, j] ** 2 / max(1, (labels == j).sum())
        shown[i] /= shown[i].sum()
    posterior = shown.copy()
    for _ in range(rounds):
        matrix = np.full((k, k), knn.SELDOM)  # [true, given]
        for i in range(n):
            for true in range(k):
                matrix[true, labels[i]] += posterior[i, true]
        matrix /= matrix.sum(1, keepdims=True)
        for i in range(n):
            posterior[i] = shown[i] * matrix[:, labels[i]]
            posterior[i] /= posterior[i].sum()
    return posterior


def posterior(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    frequency = np.bincount(labels, minlength=votes.shape[1]).clip(1)
    shown = knn.what_is_shown(votes, frequency, knn.Settings(bayes=True))
    return knn.under_transition(shown, labels)[0]


def test_bayes_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    votes = rng.dirichlet(np.ones(3), size=20)
    labels = rng.integers(3, size=20)
    found = posterior(votes, labels)
    assert np.allclose(found, naive_posterior(votes, labels))
    # a class that nobody was given rules nothing out
    some = posterior(votes, labels * 0)
    assert np.isfinite(some).all() and np.allclose(some.sum(1), 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bayes_knows_which_classes_are_taken_for_others(seed: int) -> None:
    """A third of one class under the name of another: the vote alone finds most of them last."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=600)
    wrong = (truth == 0) & (rng.random(600) < 1 / 3)
    labels = np.where(wrong, 1, truth)
    # votes that are blurred by their neighbours, as fifty of them are
    votes = rng.dirichlet(np.ones(4), size=600) + 0.3 * np.eye(4)[truth]
    votes /= votes.sum(1, keepdims=True)
    plain = votes[np.arange(600), labels]
    found = posterior(votes, labels)
    with_it = roc_auc_score(wrong, -found[np.arange(600), labels])
    assert with_it > roc_auc_score(wrong, -plain) + 0.01


def test_known_images_vote_on_others_and_not_on_themselves() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(30, 6)).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    new = rng.normal(size=(4, 6)).astype(np.float32)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    rows, cosines = knn.nearest_of(np.concatenate([new, known[:3]]), known, 5)
    for i, x in enumerate(np.concatenate([new, known[:3]])):
        others = [(float(x @ known[j]), j) for j in range(30) if i < 4 or j != i - 4]
        wanted = sorted(others, reverse=True)[:5]
        assert rows[i].tolist() == [j for _, j in wanted]
        assert np.allclose(cosines[i], [c for c, _ in wanted], atol=1e-6)
    few, _ = knn.nearest_of(new, known[:3], 50)
    assert few.shape[1] == 2
