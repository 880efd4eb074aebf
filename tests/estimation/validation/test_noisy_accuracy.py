from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from labelsieve.estimation.validation import noisy_accuracy as na
from labelsieve.estimation.validation.noisy_accuracy import ClassNoise


def dominant(rng: np.random.Generator, k: int) -> ClassNoise:
    """Random noise in which the right label is the likeliest."""
    transition = rng.dirichlet(np.ones(k), k)
    largest = transition.argmax(1)
    rows = np.arange(k)
    swap = transition[rows, largest].copy()
    transition[rows, largest] = transition[rows, rows]
    transition[rows, rows] = swap
    return ClassNoise(transition, rng.dirichlet(np.ones(k)))


def accuracies(noise: ClassNoise, answers: np.ndarray) -> tuple[float, float]:
    """On right and on noisy labels, by enumeration; answers: C [k, k]."""
    clean = noisy = 0.0
    k = len(noise.prior)
    for i in range(k):
        clean += noise.prior[i] * answers[i, i]
        for j in range(k):
            noisy += noise.prior[i] * answers[i, j] * noise.transition[i, j]
    return clean, noisy


@pytest.mark.parametrize("k", [2, 3, 7])
def test_the_bounds_hold_and_the_ceiling_is_one(k: int) -> None:
    rng = np.random.default_rng(k)
    for _ in range(500):
        noise = dominant(rng, k)
        assert noise.dominant
        clean, noisy = accuracies(noise, rng.dirichlet(np.ones(k) * 0.3, k))
        low, high = noise.bounds(noisy)
        assert noisy <= noise.ceiling + 1e-9
        assert low - 1e-9 <= clean <= high + 1e-9
    right = accuracies(noise, np.eye(k))
    assert right[1] == pytest.approx(noise.ceiling) and noise.bounds(right[1])[0] == 1


def test_errors_that_are_spread_evenly_leave_nothing_open() -> None:
    noise = na.even(0.4, 10)
    for accuracy in (0.3, 0.8, 1.0):
        answers = np.full((10, 10), (1 - accuracy) / 9)
        np.fill_diagonal(answers, accuracy)
        clean, noisy = accuracies(noise, answers)
        assert noise.bounds(noisy) == pytest.approx((clean, clean))
        assert noise.estimate(noisy) == pytest.approx(clean)


def test_the_worse_of_two_may_agree_more() -> None:
    """The counter-example: errors of the noisier class are discounted, and the bounds know it."""
    noise = ClassNoise(np.array([[0.55, 0.45], [0.0, 1.0]]), np.array([0.5, 0.5]))
    first = accuracies(noise, np.array([[0.7, 0.3], [0.0, 1.0]]))
    second = accuracies(noise, np.array([[1.0, 0.0], [0.1, 0.9]]))
    assert first[0] == pytest.approx(0.85) and second[0] == pytest.approx(0.95)
    assert noise.ceiling - first[1] == pytest.approx(0.015)
    assert noise.ceiling - second[1] == pytest.approx(0.05)
    assert noise.bounds(second[1])[1] > noise.bounds(first[1])[0]


def test_dominance_is_by_row_and_not_one_half() -> None:
    prior = np.full(3, 1 / 3)
    assert ClassNoise(np.full((3, 3), 0.3) + 0.1 * np.eye(3), prior).dominant
    pair = 0.5 * np.eye(3) + 0.5 * np.roll(np.eye(3), 1, 1)
    assert not ClassNoise(pair, prior).dominant


def test_noise_is_read_off_shares_of_given_and_true() -> None:
    noise = dominant(np.random.default_rng(0), 4)
    joint = (noise.transition * noise.prior[:, None]).T
    found = na.from_joint(joint)
    assert np.allclose(found.transition, noise.transition)
    assert np.allclose(found.prior, noise.prior)


def test_only_disagreements_count() -> None:
    first = np.array([True] * 90 + [True] * 9 + [False] * 1)
    second = np.array([True] * 90 + [False] * 9 + [True] * 1)
    found = na.paired(first, second)
    assert found.difference == pytest.approx(0.08)
    # 2 (C(10, 0) + C(10, 1)) / 2^10
    assert found.p == pytest.approx(22 / 1024)
    assert na.paired(first, first).p == 1


def test_of_many_pairs_few_are_real() -> None:
    assert na.real(np.array([0.06, 0.001, 0.02])).tolist() == [False, True, True]
    assert na.real(np.array([0.03, 0.04])).tolist() == [False, False]


def test_the_best_is_chosen_as_often_as_the_normal_law_says() -> None:
    """Ten classes, 40 % of labels wrong, 2,000 of them: how often the better of two is ahead."""
    rng = np.random.default_rng(0)
    n, k, rate, repeats = 2000, 10, 0.4, 400
    for gap in (0.03, 0.1):
        ahead = 0
        for _ in range(repeats):
            truth = rng.integers(0, k, n)
            wrong = rng.random(n) < rate
            noisy = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
            hits = []
            for accuracy in (0.8, 0.8 - gap):
                lost = rng.random(n) >= accuracy
                answer = np.where(lost, (truth + rng.integers(1, k, n)) % k, truth)
                hits.append(answer == noisy)
            ahead += hits[0].mean() > hits[1].mean()
        signs = hits[0].astype(float) - hits[1]
        slope = 1 - rate * k / (k - 1)
        expected = norm.cdf(gap * slope / (signs.std() / n**0.5))
        assert ahead / repeats == pytest.approx(expected, abs=0.05)
