from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from labelsieve.estimation.audits import stop_rule
from labelsieve.estimation.audits.stop_rule import (
    answers_needed,
    chance_of_few,
    gain,
    most_wrong,
    rank_to_review,
    remaining,
    review_order,
    spared,
)


@pytest.mark.parametrize(
    ("population", "wrong", "answers", "hits"),
    [(50, 7, 20, 2), (1000, 30, 300, 4), (20, 18, 15, 12), (8, 3, 8, 2), (9, 0, 4, 0)],
)
def test_the_chance_is_hypergeometric(
    population: int, wrong: int, answers: int, hits: int
) -> None:
    expected = stats.hypergeom.cdf(hits, population, wrong, answers)
    assert chance_of_few(population, wrong, answers, hits) == pytest.approx(expected)


def test_the_bound_is_the_largest_number_that_is_not_refuted() -> None:
    bound = most_wrong(500, 60, 2, 0.05)
    assert chance_of_few(500, bound, 60, 2) > 0.05
    assert chance_of_few(500, bound + 1, 60, 2) <= 0.05
    assert most_wrong(500, 500, 2, 0.05) == 2  # everything was judged


def test_three_hundred_answers_are_just_enough_for_one_percent() -> None:
    # the rule of three, 3 / 300, in a large population
    least = answers_needed(1_000_000, 10_000, 0.05)
    assert 297 <= least <= 299
    assert stats.hypergeom.pmf(0, 1_000_000, 10_001, least) <= 0.05
    assert stats.hypergeom.pmf(0, 1_000_000, 10_001, least - 1) > 0.05
    assert spared(1_000_000, least, 10_000, 0.05) == 0
    assert spared(1_000_000, least - 1, 10_000, 0.05) == -1
    # a sample is a large part of few labels
    assert answers_needed(500, 5, 0.05) < least


def test_rank_is_that_of_the_first_one_that_is_not_spared() -> None:
    hits = np.array([40, 3, 17])
    assert rank_to_review(hits, 0, 100) == 41
    assert rank_to_review(hits, 1, 100) == 18
    assert rank_to_review(hits, 3, 100) == 0
    assert rank_to_review(hits, -1, 100) == 100


def test_all_samples_of_a_small_world_keep_the_confidence() -> None:
    """Every sample of 8 of 16 labels, for every number of wrong labels and two orders."""
    alpha, may_remain, size, n = 0.2, 2, 16, 8
    spare = spared(size, n, may_remain, alpha)
    samples = [np.array(s) for s in combinations(range(size), n)]
    rng = np.random.default_rng(1)
    for count in range(size + 1):
        wrong = np.zeros(size, dtype=bool)
        wrong[rng.choice(size, count, replace=False)] = True
        failed = 0
        for sample in samples:
            rank = rank_to_review(sample[wrong[sample]], spare, size)
            left = wrong.copy()
            left[:rank] = False
            left[sample] = False
            failed += left.sum() > may_remain
        assert failed / len(samples) <= alpha


def test_the_running_bound_holds_for_all_ranks_at_once() -> None:
    rng = np.random.default_rng(2)
    size, n, alpha = 600, 120, 0.1
    wrong = rng.random(size) < np.linspace(0.5, 0, size)
    bounds = [remaining(size, n, x, alpha) for x in range(n + 1)]
    failed = 0
    for _ in range(1000):
        sample = rng.choice(size, n, replace=False)
        judged = np.zeros(size, dtype=bool)
        judged[sample] = True
        # what lies beyond each rank: judged and wrong, and wrong without being judged
        beyond = np.cumsum((wrong & judged)[::-1])[::-1]
        left = np.cumsum((wrong & ~judged)[::-1])[::-1]
        failed += any(a > bounds[x] for a, x in zip(left, beyond, strict=True))
    assert failed / 1000 <= alpha


def test_phi_is_zero_where_the_model_agrees_or_knows_nothing() -> None:
    probs = np.array([[1.0, 0, 0], [0, 1.0, 0], [1 / 3, 1 / 3, 1 / 3]])
    agree, contradict, ambiguous = gain(probs, np.array([0, 0, 0]))
    assert agree == pytest.approx(0, abs=1e-9)
    assert ambiguous == pytest.approx(0, abs=1e-9)  # CE 1, H 1
    assert contradict > 5


def test_phi_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), 20)
    given = rng.integers(0, 4, 20)
    for row in range(20):
        vote = np.eye(4)[given[row]]
        ce = -(vote * np.log(probs[row])).sum() / np.log(4)
        h = -(probs[row] * np.log(probs[row])).sum() / np.log(4)
        assert gain(probs, given)[row] == pytest.approx(ce - h)


def test_the_queue_goes_by_gain_then_by_probability_then_by_cost() -> None:
    probs = np.array(
        [
            [0.9, 0.1, 0.0],  # right: cheap
            [0.0, 0.9, 0.1],  # contradicted
            [0.4, 0.3, 0.3],  # ambiguous: no gain, but likelier wrong than the first
            [0.05, 0.95, 0.0],  # contradicted, a little less
        ]
    )
    assert review_order(probs, np.zeros(4, dtype=int)).tolist() == [1, 3, 2, 0]
    # equal gains: what the model holds to be right costs one answer, not two
    phi = np.array([0.5, 0.5])
    assert np.round(phi / stop_rule.SAME)[0] == np.round(phi / stop_rule.SAME)[1]
