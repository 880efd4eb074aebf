"""The rule by which a ranking becomes flags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve import estimate
from labelsieve.errors import OptionError

numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


@settings(max_examples=40)
@given(numbers, st.floats(0, 1))
def test_the_most_suspicious_are_flagged(values: list[float], rate: float) -> None:
    suspicion = np.array(values)
    flagged = estimate.flag_most(suspicion, rate)
    assert flagged.sum() == round(rate * len(suspicion))
    if 0 < flagged.sum() < len(suspicion):
        assert suspicion[flagged].min() >= suspicion[~flagged].max()
    assert estimate.flag_most(np.zeros(4), 0.5).tolist() == [True, True, False, False]


def test_known_rate_beats_own_rule_beats_estimated_rate() -> None:
    suspicion, own = np.array([0.1, 0.9, 0.5, 0.4]), np.array([True, False, False, False])
    flagged, rule = estimate.flags(suspicion, known=0.25, own=own, estimated=0.5)
    assert flagged.tolist() == [False, True, False, False] and rule == "known rate"
    flagged, rule = estimate.flags(suspicion, known=None, own=own, estimated=0.5)
    assert flagged.tolist() == own.tolist() and rule == "own rule"
    flagged, rule = estimate.flags(suspicion, known=None, own=None, estimated=0.5)
    assert flagged.tolist() == [False, True, True, False] and rule == "estimated rate"
    assert estimate.flags(suspicion, known=0.0, own=own, estimated=0.5)[0].sum() == 0  # nought is a rate, too
    with pytest.raises(OptionError, match=r"noise_rate cannot be -0.1"):
        estimate.flags(suspicion, known=-0.1, own=None, estimated=None)


@settings(max_examples=40)
@given(numbers, st.integers(0, 2**32 - 1))
def test_spread_keeps_the_order_of_one_and_the_probabilities_of_the_other(values: list[float], seed: int) -> None:
    suspicion, p_wrong = np.array(values), np.random.default_rng(seed).random(len(values))
    found = estimate.spread(suspicion, p_wrong)
    assert found.sum() == pytest.approx(p_wrong.sum())
    order = np.argsort(suspicion, kind="stable")
    assert (np.diff(found[order]) >= -1e-12).all()
    assert all(np.ptp(found[suspicion == v]) < 1e-12 for v in set(values))
    if len(set(values)) == len(values):
        assert np.allclose(np.sort(found), np.sort(p_wrong))


def test_a_flagged_label_is_never_its_own_suggestion() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    before = probs.copy()
    assert estimate.suggestions(probs, np.array([0, 0, 1]), np.array([False, True, True])).tolist() == [0, 1, 2]
    assert np.array_equal(probs, before)
