"""Sets from probabilities, against the naive way."""

from __future__ import annotations

import numpy as np

from labelsieve.estimation.flagging import LEAST, flag_by_f1
from labelsieve.estimation.sets.judging import (
    flag,
    flag_most,
    p_right,
    p_wrong_of,
    separation,
)


def test_a_set_is_right_where_each_label_is() -> None:
    rng = np.random.default_rng(0)
    posterior, given = rng.random((20, 4)), rng.random((20, 4)) < 0.5
    for row in range(20):
        product = 1.0
        for k in range(4):
            product *= posterior[row, k] if given[row, k] else 1 - posterior[row, k]
        assert np.isclose(p_right(posterior, given)[row], product)


def test_flags_are_those_of_single_labels_over_all_cells() -> None:
    rng = np.random.default_rng(1)
    p_wrong = rng.beta(0.3, 2.0, size=(300, 7))
    flat = flag_by_f1(p_wrong.reshape(-1)).reshape(p_wrong.shape)
    assert flag(p_wrong).any()
    assert (flag(p_wrong) == flat).all()
    assert p_wrong[flag(p_wrong)].min() >= LEAST
    assert not flag(np.zeros((5, 2))).any()


def test_a_known_rate_is_a_share_of_the_sets() -> None:
    rng = np.random.default_rng(2)
    p_wrong = rng.random((50, 3))
    flagged = flag_most(p_wrong, 0.2)
    assert flagged.any(1).sum() == 10
    worst = p_wrong.max(1)
    assert worst[flagged.any(1)].min() > worst[~flagged.any(1)].max()
    assert not flag_most(p_wrong, 0.0).any()


def test_separation_is_auroc_by_pairs() -> None:
    rng = np.random.default_rng(3)
    scores, given = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.4
    given[:, 1] = False
    pairs = scores[given[:, 0], 0][:, None] > scores[~given[:, 0], 0]
    found = separation(scores, given)
    assert np.isclose(found[0], pairs.mean()) and np.isnan(found[1])


def test_wrong_is_there_and_not_shown_or_the_other_way_round() -> None:
    posterior = np.array([[0.9, 0.2]])
    assert p_wrong_of(posterior, np.array([[True, False]])).round(6).tolist() == [
        [0.1, 0.2]
    ]
