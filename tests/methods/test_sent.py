from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.estimation.transition import fit_transition
from labelsieve.features.neighbours import nearest
from labelsieve.methods import aum, knn, sent
from labelsieve.methods.sent import Lesson, Settings


def test_signals_of_a_label_are_those_of_the_definitions() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = sent.about("p", probs, np.array([0, 1]))
    assert np.allclose(found["p_loss"], -np.log([0.7, 0.3]))
    assert np.allclose(found["p_margin"], np.log([0.7 / 0.2, 0.3 / 0.6]))
    assert np.allclose(found["p_entropy"], -(probs * np.log(probs)).sum(1))
    # no class is likelier than the first label, one than the second
    assert np.allclose(found["p_rank"], np.log([1, 2]))


def test_the_course_of_training_is_that_of_gradient_descent_by_hand() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    found = sent.course(features, labels, 3)
    x = (features - features.mean(0)) / np.sqrt(features.var(0).mean()) / np.sqrt(5)
    x = np.hstack([x, np.ones((40, 1))])
    weight, speed, margins = np.zeros((6, 3)), np.zeros((6, 3)), []
    for _ in range(sent.STEPS):
        logits = x @ weight
        others = logits.copy()
        others[np.arange(40), labels] = -np.inf
        margins.append(logits[np.arange(40), labels] - others.max(1))
        answers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        speed = sent.MOMENTUM * speed + x.T @ (answers - np.eye(3)[labels]) / 40
        weight = weight - sent.RATE * speed
    assert np.allclose(found["course_mean"], np.mean(margins[1:], 0), atol=1e-3)
    assert np.allclose(found["course_last"], margins[-1], atol=1e-3)


def test_planted_labels_follow_the_matrix_and_are_never_the_likely_class() -> None:
    rng = np.random.default_rng(0)
    n, k = 200_000, 4
    labels = rng.integers(0, k, n)
    # the picture says its class and hesitates over nothing else
    posterior = np.eye(k)[labels] * 0.97 + 0.01
    matrix = np.full((k, k), 0.02) + np.diag([0.9] * k)
    matrix[0, 3] = 0.2
    matrix /= matrix.sum(1, keepdims=True)
    noisy, planted = sent.plant(labels, posterior, matrix, 0.5, rng)
    assert planted.sum() == n // 2
    assert (noisy[~planted] == labels[~planted]).all()
    assert (noisy[planted] != labels[planted]).all()
    of_first = noisy[planted & (labels == 0)]
    drawn = np.bincount(of_first, minlength=k) / len(of_first)
    by_class = matrix[0, 1:] / matrix[0, 1:].sum()
    expected = (by_class + 1 / 3) / 2
    assert np.allclose(drawn[1:], expected, atol=3 * 0.5 / np.sqrt(len(of_first)))


def test_two_classes_and_a_doubted_label_leave_the_other_class() -> None:
    labels = np.zeros(10, dtype=np.int64)
    posterior = np.tile([0.1, 0.9], (10, 1))  # the label is not the likely class
    matrix = np.array([[0.9, 0.1], [0.1, 0.9]])
    rng = np.random.default_rng(0)
    noisy, planted = sent.plant(labels, posterior, matrix, 0.9, rng)
    assert planted.sum() == 9
    assert (noisy[planted] == 1).all()


def test_one_good_signal_among_noise_is_found() -> None:
    rng = np.random.default_rng(0)
    planted = rng.random(3000) < 0.15
    good = planted * 1.5 + rng.standard_normal(3000)
    inputs = np.column_stack([good, rng.standard_normal((3000, 8))])
    fold = rng.integers(0, 5, 3000)
    odds = sent.select(Lesson(inputs, planted, fold), inputs, fold)
    above = [(s[planted][:, None] > s[~planted]).mean() for s in (odds, good)]
    assert above[0] > above[1] - 0.01


def test_of_texts_errors_are_planted_where_the_votes_of_neighbours_send_them() -> None:
    """Two labels in five of two classes are given as the third; names know nothing of it."""
    rng = np.random.default_rng(0)
    n, k = 900, 3
    truth = rng.integers(k, size=n)
    features = 2 * np.eye(8)[truth] + 0.5 * rng.standard_normal((n, 8))
    features = (features / np.linalg.norm(features, axis=1)[:, None]).astype(np.float32)
    wrong = (rng.random(n) < 0.4) & (truth < 2)
    labels = np.where(wrong, 2, truth)
    unknowing = fit_transition(rng.dirichlet(np.ones(k), n), labels)
    near = nearest(features, max(sent.NEIGHBOURS))
    known = sent.Known(features, None, unknowing, near, k, texts=True)
    found, belief = sent.signals(known, labels, 0)
    sent_on = np.array([[0.6, 0, 0.4], [0, 0.6, 0.4], [0, 0, 1]])
    assert np.abs(belief.matrix - sent_on).max() < 0.15
    of_right = found["votes_odds"][~wrong].mean()
    assert found["votes_odds"][wrong].mean() > of_right + 3
    # of pictures names and T with them are the better guide
    others, pictures = sent.signals(known._replace(texts=False), labels, 0)
    assert set(found) - set(others) == {"votes_odds"}
    assert pictures.matrix is unknowing.matrix


def test_finds_planted_errors_about_as_well_as_the_best_and_the_same_again(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=60, rate=0.25, noise=60.0, k=4)
    found = planted.detect(sent)
    members = [planted.detect(room) for room in (knn, aum)]
    best = max(planted.auroc(e.p_clean) for e in members)
    assert planted.auroc(found.p_clean) > best - 0.01
    assert found.facts["selector"] == "logistic regression"
    again = planted.detect(sent)
    assert (again.p_clean == found.p_clean).all()


def test_a_handful_of_images_is_judged(plant: Callable[..., Any]) -> None:
    planted = plant(each=2, rate=0.2, k=2)
    found = planted.detect(sent)
    assert np.isfinite(found.p_clean).all()


@pytest.mark.parametrize("words", [{"copies": 0}, {"share": 0.0}, {"share": 1.0}])
def test_wrong_settings_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Settings(**words)
