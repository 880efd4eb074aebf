from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from labelsieve.estimation.audits.selection import (
    answers_needed,
    benjamini_hochberg,
    mistakes_by_rank,
    p_values,
    select,
    share,
)


def test_the_hand_example_of_a_p_value() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.9])
    null = np.array([True, True, True, False])
    # one null above .25; ties and the row itself count against it
    assert p_values(np.array([0.25]), scores[null], 4) == pytest.approx([2 / 5])
    assert p_values(np.array([0.95, 0.3]), scores[null], 4) == pytest.approx(
        [1 / 5, 2 / 5]
    )
    assert p_values(np.array([0.5]), np.empty(0), 9) == pytest.approx([1 / 10])


def naive_list(
    scores: np.ndarray, sample: list[int], null: list[bool], q: float
) -> set[int]:
    """Benjamini and Hochberg by the book, with fractions."""
    rest = [i for i in range(len(scores)) if i not in sample]
    p = {}
    for j in rest:
        above = sum(
            n and scores[i] >= scores[j] for i, n in zip(sample, null, strict=True)
        )
        p[j] = Fraction(1 + above, len(sample) + 1)
    best: set[int] = set()
    for k in range(1, len(rest) + 1):
        threshold = sorted(p.values())[k - 1]
        if threshold <= Fraction(q).limit_denominator(1000) * k / len(rest):
            best = {j for j in rest if p[j] <= threshold}
    return best


@pytest.mark.parametrize("seed", range(30))
def test_the_list_is_that_of_the_book(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, 40) / 8  # many ties
    sample = rng.choice(40, 15, replace=False)
    null = rng.random(15) < scores[sample] * 0.3
    q = float(rng.choice([0.1, 0.2, 0.4]))
    found = select(scores, sample, null, q)
    assert set(found.rows.tolist()) == naive_list(
        scores, sample.tolist(), null.tolist(), q
    )
    assert found.expected <= q + 1e-9
    assert (np.diff(scores[found.rows]) <= 0).all()


def test_every_audit_of_a_small_world_keeps_the_promise_on_average() -> None:
    """All 3,003 audits of 10 of 15 rows: the mean share of false alarms is at most q."""
    rng = np.random.default_rng(3)
    null = rng.random(15) < 0.5
    for scores in (rng.random(15), np.where(null, 0.0, 1.0), null.astype(float)):
        for q in (0.2, 0.5):
            shares = []
            for sample in combinations(range(15), 10):
                rows = np.array(sample)
                found = select(scores, rows, null[rows], q)
                shares.append(null[found.rows].mean() if len(found.rows) else 0.0)
            assert np.mean(shares) <= q


@pytest.mark.parametrize("kind", ["good", "useless", "inverted", "constant"])
def test_the_promise_holds_whatever_the_scores_are(kind: str) -> None:
    rng = np.random.default_rng(5)
    wrong = rng.random(4000) < 0.15
    noise = rng.normal(0, 0.4, 4000)
    scores = {
        "good": 1.0 * wrong + noise,
        "useless": noise,
        "inverted": -1.0 * wrong + noise,
        "constant": np.zeros(4000),
    }[kind]
    shares, sizes = [], []
    for _ in range(300):
        sample = rng.choice(4000, 200, replace=False)
        found = select(scores, sample, ~wrong[sample], 0.1)
        sizes.append(len(found.rows))
        shares.append((~wrong[found.rows]).mean() if sizes[-1] else 0.0)
    assert np.mean(shares) <= 0.1 + 2 * np.std(shares) / np.sqrt(300)
    assert (np.mean(sizes) > 250) == (kind == "good")


def test_an_empty_list_says_how_many_answers_would_help() -> None:
    rng = np.random.default_rng(0)
    wrong = np.arange(20_000) < 1000
    scores = np.where(wrong, 1.0, 0.0) + rng.normal(0, 0.2, 20_000)
    # Bayes' rule for these two normal distributions
    clean = 1 / (1 + np.exp((scores - 0.5) / 0.04 - np.log(19)))

    def audit(n: int) -> tuple[bool, int | None]:
        sample = rng.choice(20_000, n, replace=False)
        found = select(scores, sample, ~wrong[sample], 0.1, clean)
        return len(found.rows) > 0, found.needed

    listed, needed = audit(60)
    assert not listed and needed is not None and 150 < needed < 400
    assert sum(audit(needed)[0] for _ in range(20)) >= 16
    # a model that is sure and wrong is soon not trusted
    sample = rng.choice(20_000, 300, replace=False)
    useless = rng.random(20_000)
    found = select(useless, sample, ~wrong[sample], 0.1, np.full(20_000, 0.2))
    assert not len(found.rows) and found.needed is None


def test_the_least_number_of_answers_is_the_one_of_the_formula() -> None:
    perfect = np.concatenate([np.zeros(100), np.arange(1, 901) / np.arange(101, 1001)])
    needed = answers_needed(perfect, 0.1)
    # without a single mistake 1 / (n + 1) ≤ q k / N; k = 100 of 1000 are free of mistakes
    assert needed is not None and needed <= np.ceil(1 / (0.1 * 0.1)) - 1
    assert answers_needed(np.full(1000, 0.2), 0.1) is None


def test_mistakes_by_rank_counts_what_was_judged_above() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    expected = np.array([0.0, 0.2, 0.4, 0.6])
    found = mistakes_by_rank(
        scores, np.array([0.9, 0.7]), np.array([False, True]), expected
    )
    # the model's running mean counts as much as five answers
    assert found == pytest.approx([0 / 6, 0.5 / 6, (1 + 1) / 7, (1 + 1.5) / 7])


def test_benjamini_hochberg_takes_the_largest_k() -> None:
    p = np.array([0.01, 0.04, 0.049, 0.5])
    # the second fails at 0.05, the third passes and takes it along
    assert benjamini_hochberg(p, 0.07) == 3
    assert benjamini_hochberg(np.array([0.1] * 30), 0.1) == 30
    assert benjamini_hochberg(np.array([0.9]), 0.1) == 0


@pytest.mark.parametrize(("count", "of"), [(0, 20), (3, 20), (20, 20)])
def test_shares_have_the_exact_interval(count: int, of: int) -> None:
    found = share(count, of)
    exact = stats.binomtest(count, of).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert (found.value, found.counted, found.of) == (count / of, count, of)


def test_the_tail_is_judged_beside_the_end_of_the_list() -> None:
    scores = np.linspace(1, 0, 1000)
    sample = np.arange(0, 1000, 5)
    null = sample >= 500
    found = select(scores, sample, null, 0.2)
    assert len(found.rows) and found.tail is not None
    first = found.rows[int(0.8 * len(found.rows))]
    beside = (sample >= first) & (sample <= found.rows[-1])
    assert (found.tail.counted, found.tail.of) == (
        null[beside].sum(),
        beside.sum(),
    )
