"""The rules by which a ranking becomes flags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsieve.estimation import flagging

numbers = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)


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


def test_no_list_is_longer_than_twice_the_expected_errors() -> None:
    # expected F1 would flag more: nearly nothing is known
    p_wrong = np.where(np.arange(100) < 60, 0.3, 0.26)
    assert flagging.expected_f1_count(p_wrong) > 57
    assert flagging.flag_by_f1(p_wrong).sum() == 57
    # what is nearly surely right is not flagged, though nothing is more suspicious
    assert not flagging.flag_by_f1(p_wrong / 2).any()


def test_suggestions_leave_a_flagged_label() -> None:
    probs = np.array([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    assert flagging.suggestions(
        probs, np.array([0, 0]), np.array([False, True])
    ).tolist() == [0, 1]


def test_where_little_is_known_no_more_are_flagged_than_expected() -> None:
    p_wrong = np.array([0.6, 0.1, 0.5, 0.4, 0.3])
    flagged = np.array([True, False, True, True, True])
    kept = flagging.at_most_expected(p_wrong, flagged)
    # 1.9 are expected
    assert kept.tolist() == [True, False, True, False, False]
    # what was not flagged stays so
    assert not flagging.at_most_expected(p_wrong, ~flagged).any()
