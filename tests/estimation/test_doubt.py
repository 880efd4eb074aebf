"""When labels are doubted beyond what T says: people's errors, not planted or missing ones."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.estimation.doubt import (
    ENOUGH,
    ERRORS,
    HALF,
    MOST,
    SUPPORT,
    believed,
    doubt,
)
from labelsieve.estimation.transition import fit_transition
from labelsieve.features.zero_shot import softmax

N, K = 4_000, 6


def answers() -> tuple[np.ndarray, np.ndarray]:
    """Calibrated answers [n, k] and true classes [n] drawn from them."""
    rng = np.random.default_rng(0)
    # some pictures are easy, some are hard
    size = rng.uniform(0.5, 6, size=(N, 1))
    q = softmax(size * rng.normal(size=(N, K)))
    return q, (q.cumsum(1) < rng.random((N, 1))).sum(1).clip(0, K - 1)


def shift(q: np.ndarray, labels: np.ndarray, *, learned: bool = False) -> float:
    fit = fit_transition(q, labels)
    return doubt(fit.calibrate(q), labels, fit.matrix, learned=learned)


def hard_errors(q: np.ndarray, truth: np.ndarray, rate: float) -> np.ndarray:
    """Labels that are wrong where pictures are hard, and follow their looks."""
    rng = np.random.default_rng(1)
    # not as far as the answers do, or no trace would be left
    others = np.sqrt(q)
    unsure = 1 - q.max(1) + 0.1
    chosen = rng.choice(N, int(rate * N), replace=False, p=unsure / unsure.sum())
    others[np.arange(N), truth] = 0
    labels = truth.copy()
    for row in chosen:
        labels[row] = rng.choice(K, p=others[row] / others[row].sum())
    return labels


def planted(truth: np.ndarray, rate: float) -> np.ndarray:
    rng = np.random.default_rng(2)
    wrong = rng.random(N) < rate
    return np.where(wrong, (truth + rng.integers(1, K, N)) % K, truth)


def test_errors_of_hard_pictures_are_doubted_and_planted_ones_are_not() -> None:
    q, truth = answers()
    people = shift(q, hard_errors(q, truth, 0.2))
    # a weak model sees a tenth of these errors
    assert people > 0.5 * MOST[False]
    assert shift(q, planted(truth, 0.2)) < 0.4 * people


def test_the_shift_fades_where_hardly_any_label_is_wrong() -> None:
    q, truth = answers()
    assert shift(q, truth) < 0.2 * MOST[False]
    right = np.eye(K)[truth] * 0.999 + 0.001 / K
    assert doubt(right, truth, np.eye(K), learned=False) < 0.1


@pytest.mark.parametrize("learned", [False, True])
def test_it_is_never_more_than_the_most(learned: bool) -> None:
    q, truth = answers()
    for rate in (0.02, 0.4):
        one = shift(q, hard_errors(q, truth, rate), learned=learned)
        assert 0 <= one <= MOST[learned]
    assert HALF[True] > HALF[False]


def test_labels_are_believed_where_nothing_says_that_any_is_wrong() -> None:
    q, truth = answers()
    right = fit_transition(q, truth).support
    people = fit_transition(q, hard_errors(q, truth, 0.2)).support
    anywhere = fit_transition(q, planted(truth, 0.05)).support
    assert believed(right, N / K, learned=False) == 1
    assert believed(people, N / K, learned=False) == 0
    assert believed(anywhere, N / K, learned=False) == 0


def test_a_probe_of_few_images_cannot_clear_labels() -> None:
    few, many = ENOUGH
    nothing = (0.0, 0.0)
    assert believed(nothing, few, learned=True) == 0
    assert believed(nothing, few, learned=False) == 1
    assert believed(nothing, many, learned=True) == 1
    # by degrees in between
    assert 0 < believed(nothing, (few + many) / 2, learned=True) < 1
    assert 0 < believed((sum(SUPPORT) / 2, 0.0), many, learned=True) < 1


def test_what_chance_leaves_open_clears_no_label() -> None:
    assert believed((0.0, SUPPORT[1]), 40, learned=False) == 0


def test_of_a_probe_what_may_be_chance_says_nothing() -> None:
    many = ENOUGH[1]
    most = 2 * SUPPORT[1]
    low, high = ERRORS
    assert believed((most, most / low), many, learned=True) == 1
    assert believed((most, most / high), many, learned=True) == pytest.approx(0)
    assert 0 < believed((most, 2 * most / (low + high)), many, learned=True) < 1
    # the same leaves errors open where class names answer
    assert believed((most, most / low), many, learned=False) == 0
    # what is certain and tiny is no error: no model of errors is exactly right
    assert believed((SUPPORT[0], SUPPORT[0] / 100), many, learned=True) == 1
