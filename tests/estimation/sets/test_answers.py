"""Answers about some sets correct what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.estimation.sets.answers import LEAST, SetAnswers, SetLearner

N, K = 2_000, 8


@pytest.fixture
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """probs, given, true: what is said to be wrong with p is wrong with about p / 3."""
    rng = np.random.default_rng(0)
    given = rng.random((N, K)) < 0.3
    said = rng.beta(0.3, 4, (N, K))
    wrong = rng.random((N, K)) < said / 3
    return np.where(given, 1 - said, said).astype(np.float32), given, given ^ wrong


def test_without_answers_nothing_changes(world: tuple[np.ndarray, ...]) -> None:
    probs, given, _ = world
    none = SetAnswers(np.empty(0, dtype=np.int64), np.empty((0, K), dtype=bool))
    assert SetLearner(probs, given).probs(none) is probs


@pytest.mark.parametrize("chosen", ["suspicious", "random"])
def test_the_rest_is_calibrated_however_answers_were_chosen(
    world: tuple[np.ndarray, ...], chosen: str
) -> None:
    probs, given, true = world
    said = np.where(given, 1 - probs, probs)
    order = np.argsort(-said.max(1))
    if chosen == "random":
        order = np.random.default_rng(1).permutation(N)
    rows, rest = order[:200], order[200:]
    learned = SetLearner(probs, given).probs(SetAnswers(rows, true[rows]))
    assert learned.shape == probs.shape and learned.dtype == probs.dtype
    now = np.where(given, 1 - learned, learned)
    wrong = (true ^ given)[rest].sum()
    before, after = said[rest].sum() / wrong, now[rest].sum() / wrong
    assert before > 2.5
    # the most suspicious ones say less about those that look right
    assert after < (1.5 if chosen == "random" else 2.0)
    assert (learned >= 0).all() and (learned <= 1).all()


def test_what_nobody_would_doubt_stays_as_it_is(
    world: tuple[np.ndarray, ...],
) -> None:
    probs, given, true = world
    said = np.where(given, 1 - probs, probs)
    learned = SetLearner(probs, given).probs(SetAnswers(np.arange(50), true[:50]))
    small = said < LEAST
    assert np.array_equal(learned[small], probs[small]) and (~small).any()


def test_where_nothing_is_in_doubt_nothing_is_learned() -> None:
    given = np.eye(4, dtype=bool)
    probs = given.astype(np.float32)
    answers = SetAnswers(np.array([0]), ~given[:1])
    assert SetLearner(probs, given).probs(answers) is probs


def test_the_order_of_pictures_changes_nothing(world: tuple[np.ndarray, ...]) -> None:
    probs, given, true = world
    rows = np.arange(60)
    learned = SetLearner(probs, given).probs(SetAnswers(rows, true[rows]))
    turned = SetLearner(probs[::-1].copy(), given[::-1].copy())
    again = turned.probs(SetAnswers(N - 1 - rows, true[rows]))
    assert np.allclose(again[::-1], learned, atol=1e-6)
