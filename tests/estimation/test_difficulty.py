"""Errors that depend on the picture, against a slow version and data of which all is known."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.noisy_labels import TRUE, K, N, world

from labelsieve.estimation import calibration, noise_rate, transition
from labelsieve.estimation.difficulty import LEVELS, Explained, Level, explain
from labelsieve.estimation.em import log_likelihoods
from labelsieve.estimation.transition import fit_transition


def chances(q: np.ndarray, matrix: np.ndarray, level: Level, c: float) -> np.ndarray:
    """[k, k] P(label | class) of one picture, number by number as the docstring has it."""
    k = len(matrix)
    u = (1 - q.max()) / (1 - 1 / k)
    result = np.zeros((k, k))
    for true in range(k):
        e = 1 - matrix[true, true]
        others = [np.sqrt(q[j]) for j in range(k) if j != true]
        for given in range(k):
            if given != true:
                by_class = matrix[true, given] / e
                by_looks = np.sqrt(q[given]) / sum(others)
                result[true, given] = (
                    1 - level.directed
                ) * by_class + level.directed * by_looks
        result[true] *= c * e * u**level.growth
        result[true, true] = 1 - result[true].sum()
    return result


def slowly(
    probs: np.ndarray, labels: np.ndarray, matrix: np.ndarray, level: Level
) -> Explained:
    """The best c out of many."""
    best = Explained(np.full(len(labels), -np.inf), 0.0)
    uncertainty = (1 - probs.max(1)) / (1 - 1 / len(matrix))
    most = 1 / ((1 - np.diag(matrix))[labels] * uncertainty**level.growth).max()
    # beyond `most` some right label would have a negative probability
    for c in np.linspace(0.01, 0.999, 100) * most:
        likelihoods, right = [], []
        for q, label in zip(probs, labels, strict=True):
            table = chances(q, matrix, level, c)
            likelihoods.append(q @ table[:, label])
            right.append(q[label] * table[label, label])
        fitted = np.log(likelihoods)
        if fitted.sum() > best.fitted.sum():
            best = Explained(fitted, float(1 - (np.array(right) / likelihoods).mean()))
    return best


@pytest.mark.parametrize("level", LEVELS)
def test_likelihoods_and_rate_are_those_of_the_formula(
    level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    probs, _, labels = world()
    probs, labels = probs[:60], labels[:60]
    # in parts of a few images
    monkeypatch.setattr(calibration, "CELLS", 7 * K)
    found = explain(probs, labels, TRUE, level)
    slow = slowly(probs, labels, TRUE, level)
    np.testing.assert_allclose(found.fitted, slow.fitted, atol=0.03)
    # c was tried in steps of a hundredth
    assert found.fitted.sum() == pytest.approx(slow.fitted.sum(), abs=0.01)
    assert found.rate == pytest.approx(slow.rate, abs=0.01)


def test_without_dependence_it_is_the_matrix_alone() -> None:
    probs, _, labels = world()
    fitted = fit_transition(probs, labels)
    calibrated = fitted.calibrate(probs)
    found = explain(calibrated, labels, fitted.matrix, Level(0.0, 0.0))
    alone = log_likelihoods(calibrated, labels, fitted.matrix)
    # T is the likeliest one but for its prior, so c is about 1
    assert found.fitted.mean() == pytest.approx(alone.mean(), abs=1e-3)
    assert found.fitted.mean() >= alone.mean() - 1e-9
    right = fitted.posterior(calibrated, labels)[np.arange(N), labels]
    assert found.rate == pytest.approx(1 - right.mean(), abs=0.01)


def hesitant(
    n: int, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, true classes and labels of people who mislabel what the model hesitates over."""
    rng = np.random.default_rng(seed)
    logits = 3.0 * rng.standard_normal((n, 10))
    probs = calibration.soften(np.exp(logits), 1.0)
    truth = np.array([rng.choice(10, p=p) for p in probs])
    level = Level(0.4, 0.2)
    matrix = np.full((10, 10), rate / 9)
    np.fill_diagonal(matrix, 1 - rate)
    rows = [
        chances(q, matrix, level, 1.0)[k] for q, k in zip(probs, truth, strict=True)
    ]
    labels = np.array([rng.choice(10, p=row) for row in rows])
    return probs, truth, labels


def test_the_interval_holds_the_share_of_errors_that_depend_on_the_picture() -> None:
    """Which is above every rate by class, however many images there are."""
    probs, truth, labels = hesitant(6000, 0.4, 3)
    wrong = float((labels != truth).mean())
    fitted = fit_transition(probs, labels)
    posterior = fitted.posterior(fitted.calibrate(probs), labels)
    classes = tuple("abcdefghij")
    # the last rates are those of the levels; they are in order of likelihoods, not of size
    noise = noise_rate.summarise(posterior, labels, classes, fitted.rates)
    by_class = noise_rate.summarise(
        posterior, labels, classes, [r for r in fitted.rates if r <= noise.rate]
    )
    assert by_class.high < wrong
    assert noise.low < wrong < noise.high < wrong + 0.15


def test_labels_contradict_a_dependence_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each class is mistaken for the next one, whatever a picture looks like."""
    probs, truth, _ = hesitant(6000, 0.1, 4)
    rng = np.random.default_rng(5)
    labels = np.where(rng.random(len(truth)) < 0.4, (truth + 1) % 10, truth)
    wrong = (labels != truth).mean()
    highest = max(fit_transition(probs, labels).rates)
    # doubts that no likelihood dispels
    monkeypatch.setattr(transition, "DOUBT_OF_PICTURES", 9.0)
    assert wrong < highest < wrong + 0.1
    assert highest < max(fit_transition(probs, labels).rates) - 0.02
