"""Probabilities at a temperature and with class weights."""

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
