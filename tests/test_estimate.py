"""Estimates of label noise without truth, against data of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve import estimate

K, N = 4, 6000
TRUE = np.array([[0.8, 0.2, 0.0, 0.0], [0.0, 0.9, 0.1, 0.0], [0.05, 0.05, 0.85, 0.05], [0.3, 0.0, 0.0, 0.7]])


def world(seed: int = 0, sharpness: float = 2.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrated class probabilities [n, k], the truth they are about, and labels made from it with TRUE."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((N, K))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(K, p=p) for p in probs])
    return probs, truth, np.array([rng.choice(K, p=TRUE[t]) for t in truth])


def test_the_transition_matrix_is_found_from_labels_alone() -> None:
    probs, truth, labels = world()
    found = estimate.fit_transition(probs, labels)
    assert np.abs(found.matrix - TRUE).max() < 0.08
    np.testing.assert_allclose(found.matrix.sum(1), 1)
    rate = 1 - found.posterior(found.mend(probs), labels)[np.arange(N), labels].mean()
    assert rate == pytest.approx((labels != truth).mean(), abs=0.03)
    assert min(found.rates) - 0.02 <= (labels != truth).mean() <= max(found.rates) + 0.02


def test_overconfidence_is_found_and_mended() -> None:
    probs, truth, labels = world()
    overconfident = estimate.soften(probs, 0.5)
    found = estimate.fit_transition(overconfident, labels)
    assert found.temperature == pytest.approx(2.0, rel=0.35)
    rate = 1 - found.posterior(found.mend(overconfident), labels)[np.arange(N), labels].mean()
    naive = 1 - overconfident[np.arange(N), labels].mean()
    wrong = (labels != truth).mean()
    assert abs(rate - wrong) < abs(naive - wrong) / 3


def test_preferred_classes_are_weighted_down() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([4, 1, 1, 1], 3000)
    wanted = np.array([0.1, 0.2, 0.3, 0.4])
    weights = estimate.balance(probs, wanted)
    np.testing.assert_allclose(estimate.reweigh(probs, weights).mean(0), wanted, atol=2e-3)


def test_em_raises_the_likelihood() -> None:
    probs, _, labels = world()
    one, few, many = (estimate._em(probs, labels, rounds)[1] for rounds in (1, 4, 60))
    assert one < few < many


@settings(max_examples=30)
@given(st.floats(0.2, 5), st.integers(0, 1000))
def test_softening_is_a_temperature(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal((5, 3))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    warm = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
    np.testing.assert_allclose(estimate.soften(probs, temperature), warm, rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=12))
def test_the_expected_f1_count_is_the_best_of_all(p_wrong: list[float]) -> None:
    p = np.sort(np.array(p_wrong))[::-1]
    values = [2 * p[:m].sum() / (m + p.sum()) for m in range(1, len(p) + 1)]
    assert values[estimate.expected_f1_count(np.array(p_wrong)) - 1] == pytest.approx(max(values), rel=1e-12)


def test_nothing_is_flagged_where_nothing_can_be_wrong() -> None:
    assert estimate.expected_f1_count(np.zeros(5)) == 0
    assert estimate.expected_f1_count(np.empty(0)) == 0


def test_suggestions_leave_a_flagged_label() -> None:
    probs = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    assert estimate.suggestions(probs, np.array([0, 0]), np.array([False, True])).tolist() == [0, 1]


def test_the_summary_adds_up() -> None:
    probs, truth, labels = world()
    transition = estimate.fit_transition(probs, labels)
    posterior = transition.posterior(transition.mend(probs), labels)
    noise = estimate.summarise(posterior, labels, ("a", "b", "c", "d"), transition.rates)
    assert noise.low <= noise.rate <= noise.high
    assert noise.low <= (labels != truth).mean() <= noise.high
    assert noise.rate == pytest.approx(1 - np.trace(noise.matrix))
    counts = np.bincount(labels, minlength=K)
    shares = np.array(list(noise.per_class.values()))
    assert (shares * counts).sum() / N == pytest.approx(noise.rate)
    assert noise.pairs[0]["images"] == pytest.approx((noise.matrix - np.diag(np.diag(noise.matrix))).max() * N)
    wider = estimate.summarise(posterior, labels, ("a", "b", "c", "d"), (*transition.rates, 0.9))
    assert wider.high > noise.high and wider.rate == noise.rate
