"""Temperatures, class weights, and probabilities for rankings."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.estimation import calibration


def test_preferred_classes_are_weighted_down() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([4, 1, 1, 1], 3000)
    wanted = np.array([0.1, 0.2, 0.3, 0.4])
    weights = calibration.balance(probs, wanted)
    np.testing.assert_allclose(
        calibration.reweigh(probs, weights).mean(0), wanted, atol=2e-3
    )


@settings(max_examples=30)
@given(st.floats(0.2, 5), st.integers(0, 1000))
def test_softening_is_a_temperature(temperature: float, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal((5, 3))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    warm = np.exp(logits / temperature) / np.exp(logits / temperature).sum(
        1, keepdims=True
    )
    np.testing.assert_allclose(calibration.soften(probs, temperature), warm, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.integers(0, 1000))
def test_a_curve_keeps_the_order_and_the_mean(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    suspicion = rng.normal(size=n).round(2)  # with ties
    p_wrong = rng.random(n) * (suspicion > 0)
    values = calibration.fit_curve(suspicion, p_wrong)(suspicion)
    order = np.argsort(suspicion)
    assert (np.diff(values[order]) >= -1e-12).all()
    assert len(np.unique(values)) == len(np.unique(suspicion))
    assert values.min() >= 0 and values.max() <= 1
    # each step leans by a twentieth of its distance to its neighbours, at most
    assert abs(values.mean() - p_wrong.mean()) < 0.05


def test_a_curve_finds_the_probabilities_behind_a_ranking() -> None:
    rng = np.random.default_rng(0)
    suspicion = rng.random(20_000)
    target = (rng.random(20_000) < suspicion**3).astype(float)
    curve = calibration.fit_curve(suspicion, target)
    at = np.array([0.2, 0.5, 0.8, 0.95])
    np.testing.assert_allclose(curve(at), at**3, atol=0.05)
    np.testing.assert_allclose(curve.thinned(101)(at), curve(at), atol=0.02)


def test_the_given_label_gets_its_probability_and_the_others_share_the_rest() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [0.2, 0.2, 0.6]])
    posterior = calibration.with_given(
        probs, np.array([0, 0, 2]), np.array([0.1, 0.4, 1.0])
    )
    np.testing.assert_allclose(
        posterior, [[0.1, 0.54, 0.36], [0.4, 0.3, 0.3], [0, 0, 1]], rtol=1e-6
    )


def test_hesitation_tells_people_from_planted_errors() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(5, 0.3), 6_000)
    truth = (probs.cumsum(1) > rng.random((6_000, 1))).argmax(1)
    wrong = rng.random(6_000) < 0.2
    anywhere = np.where(wrong, (truth + rng.integers(1, 5, 6_000)) % 5, truth)
    # another class of the same picture, as likely as the model finds it
    others = probs.copy()
    others[np.arange(6_000), truth] = 0
    others /= others.sum(1, keepdims=True)
    alike = (others.cumsum(1) > rng.random((6_000, 1))).argmax(1)
    of_people = np.where(wrong, alike, truth)
    assert calibration.hesitation(probs, anywhere) < 0.1
    assert calibration.hesitation(probs, of_people) > 0.5
    assert calibration.hesitation(probs, truth) < 0.3
