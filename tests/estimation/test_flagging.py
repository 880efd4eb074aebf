"""The rules by which a ranking becomes flags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.errors import OptionError
from labelsieve.estimation import flagging

numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


@settings(max_examples=40)
@given(numbers, st.floats(0, 1))
def test_the_most_suspicious_are_flagged(values: list[float], rate: float) -> None:
    suspicion = np.array(values)
    flagged = flagging.flag_most(suspicion, rate)
    assert flagged.sum() == round(rate * len(suspicion))
    if 0 < flagged.sum() < len(suspicion):
        assert suspicion[flagged].min() >= suspicion[~flagged].max()
    assert flagging.flag_most(np.zeros(4), 0.5).tolist() == [True, True, False, False]


def test_known_rate_beats_own_rule_beats_estimated_rate() -> None:
    suspicion, own = (
        np.array([0.1, 0.9, 0.5, 0.4]),
        np.array([True, False, False, False]),
    )
    flagged, rule = flagging.choose(suspicion, known=0.25, own=own, estimated=0.5)
    assert flagged.tolist() == [False, True, False, False] and rule == "known rate"
    flagged, rule = flagging.choose(suspicion, known=None, own=own, estimated=0.5)
    assert flagged.tolist() == own.tolist() and rule == "own rule"
    flagged, rule = flagging.choose(suspicion, known=None, own=None, estimated=0.5)
    assert flagged.tolist() == [False, True, True, False] and rule == "estimated rate"
    assert (
        flagging.choose(suspicion, known=0.0, own=own, estimated=0.5)[0].sum() == 0
    )  # nought is a rate, too
    with pytest.raises(OptionError, match=r"noise_rate cannot be -0.1"):
        flagging.choose(suspicion, known=-0.1, own=None, estimated=None)


@settings(max_examples=40)
@given(numbers, st.integers(0, 2**32 - 1))
def test_spread_keeps_the_order_of_one_and_the_probabilities_of_the_other(
    values: list[float], seed: int
) -> None:
    suspicion, p_wrong = (
        np.array(values),
        np.random.default_rng(seed).random(len(values)),
    )
    result = flagging.spread(suspicion, p_wrong)
    assert result.sum() == pytest.approx(p_wrong.sum())
    order = np.argsort(suspicion, kind="stable")
    assert (np.diff(result[order]) >= -1e-12).all()
    assert all(np.ptp(result[suspicion == v]) < 1e-12 for v in set(values))
    if len(set(values)) == len(values):
        assert np.allclose(np.sort(result), np.sort(p_wrong))


def test_a_flagged_label_is_never_its_own_suggestion() -> None:
    probs = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    before = probs.copy()
    assert flagging.suggestions(
        probs, np.array([0, 0, 1]), np.array([False, True, True])
    ).tolist() == [0, 1, 2]
    assert np.array_equal(probs, before)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=12))
def test_the_expected_f1_count_is_the_best_of_all(p_wrong: list[float]) -> None:
    p = np.sort(np.array(p_wrong))[::-1]
    values = [2 * p[:m].sum() / (m + p.sum()) for m in range(1, len(p) + 1)]
    assert values[flagging.expected_f1_count(np.array(p_wrong)) - 1] == pytest.approx(
        max(values), rel=1e-12
    )


def test_nothing_is_flagged_where_nothing_can_be_wrong() -> None:
    assert flagging.expected_f1_count(np.zeros(5)) == 0
    assert flagging.expected_f1_count(np.empty(0)) == 0


def test_what_is_no_more_suspicious_than_the_average_is_not_flagged() -> None:
    """Alone the expected F1 flags everything where all are alike."""
    for p in (0.001, 0.3, 0.9):
        assert flagging.expected_f1_count(np.full(50, p)) == 50
        assert not flagging.flag_by_f1(np.full(50, p)).any()
    assert flagging.flag_by_f1(np.empty(0)).tolist() == []
    rng = np.random.default_rng(0)
    p_wrong = np.concatenate([rng.uniform(0, 0.2, 80), rng.uniform(0.6, 1, 20)])
    flagged = flagging.flag_by_f1(p_wrong)
    assert flagged.sum() == flagging.expected_f1_count(p_wrong), (
        "where the ranking tells something, nothing changes"
    )
    assert p_wrong[flagged].min() >= p_wrong[~flagged].max()
    vague = rng.uniform(0.28, 0.32, 100)
    assert (
        flagging.expected_f1_count(vague) == 100
        and 0 < flagging.flag_by_f1(vague).sum() < 60
    )


def test_suggestions_leave_a_flagged_label() -> None:
    probs = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    assert flagging.suggestions(
        probs, np.array([0, 0]), np.array([False, True])
    ).tolist() == [0, 1]
