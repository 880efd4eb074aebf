from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from labelsieve.estimation.audits.shares import (
    LEAST,
    bands,
    confusions,
    error_of_people,
    estimate,
    neyman,
    per_class,
    strata,
    stratified,
)


def world(
    rng: np.random.Generator, n: int = 4000, rate: float = 0.12, good: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Wrong labels and probabilities of them that are informative, or are not."""
    wrong = rng.random(n) < rate
    p = np.clip(rng.normal(np.where(wrong & good, 0.7, 0.1), 0.15), 0.001, 0.999)
    return wrong, p


def draw(
    rng: np.random.Generator, stratum: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    rows = [
        rng.choice(np.flatnonzero(stratum == h), count, replace=False)
        for h, count in enumerate(wanted)
    ]
    return np.concatenate(rows)


def test_the_estimate_is_that_of_the_docstring() -> None:
    rng = np.random.default_rng(0)
    wrong, p = world(rng)
    stratum = strata(p, np.zeros(len(p), dtype=int), 200)
    sample = draw(rng, stratum, neyman(p, stratum, 200))
    found = stratified(p, stratum, sample, wrong[sample])
    expected, variance = 0.0, 0.0
    for h in range(stratum.max() + 1):
        mine = sample[stratum[sample] == h]
        size, n = (stratum == h).sum(), len(mine)
        rest = wrong[mine] - found.weight * p[mine]
        mean_p = p[stratum == h].mean()
        expected += size / len(p) * (found.weight * mean_p + rest.mean())
        spread = (((rest - rest.mean()) ** 2).sum() + mean_p * (1 - mean_p)) / n
        variance += (size / len(p)) ** 2 * (1 - n / size) * spread / n
    assert found.rate == pytest.approx(expected)
    # at least as wide as a normal interval: Student's t has heavier tails
    assert found.high - found.low >= 2 * 1.959 * np.sqrt(variance)
    assert (found.judged, found.method) == (200, "stratified")


@pytest.mark.parametrize("good", [True, False])
def test_strata_cover_and_cost_less_where_scores_are_good(good: bool) -> None:
    rng = np.random.default_rng(2)
    wrong, p = world(rng, good=good)
    given = rng.integers(0, 10, len(p))
    stratum = strata(p, given, 200)
    wanted = neyman(p, stratum, 200)
    hits, widths, plain, rates = 0, [], [], []
    for _ in range(300):
        sample = draw(rng, stratum, wanted)
        found = stratified(p, stratum, sample, wrong[sample])
        hits += found.low <= wrong.mean() <= found.high
        widths.append(found.high - found.low)
        rates.append(found.rate)
        uniform = rng.choice(len(p), 200, replace=False)
        plain.append(2 * 1.96 * np.sqrt(wrong[uniform].var() / 200))
    assert hits / 300 >= 0.92
    assert np.mean(rates) == pytest.approx(wrong.mean(), abs=0.006)  # unbiased
    assert (np.mean(widths) < 0.7 * np.mean(plain)) == good


def test_every_draw_of_a_tiny_world_averages_to_the_truth() -> None:
    """λ fixed at 0 by equal scores: all 18 draws of 1 of 3, 1 of 3 and 1 of 2."""
    wrong = np.array([1, 0, 0, 1, 1, 0, 0, 1], dtype=bool)
    stratum = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    p = np.full(8, 0.5)
    rates = []
    for sample in product([0, 1, 2], [3, 4, 5], [6, 7]):
        rows = np.array(sample)
        rates.append(stratified(p, stratum, rows, wrong[rows]).rate)
    assert np.mean(rates) == pytest.approx(wrong.mean())


def test_neyman_gives_answers_where_doubt_is() -> None:
    p = np.concatenate([np.full(900, 0.02), np.full(100, 0.5)])
    stratum = np.repeat([0, 1], [900, 100])
    wanted = neyman(p, stratum, 100)
    assert wanted.sum() == 100 and wanted.min() >= LEAST
    # W sd: 0.9 · 0.14 against 0.1 · 0.5
    assert wanted[0] / wanted[1] == pytest.approx(900 * 0.14 / (100 * 0.5), rel=0.1)
    # never more than there are, and everything where everything is asked for
    assert neyman(p, stratum, 5000).tolist() == [900, 100]


def test_strata_cross_classes_where_the_answers_go_round() -> None:
    rng = np.random.default_rng(1)
    p, given = rng.random(5000), rng.integers(0, 10, 5000)
    assert len(np.unique(strata(p, given, 100))) == 5  # by score alone
    crossed = strata(p, given, 300)
    assert len(np.unique(crossed)) == 30
    for h in np.unique(crossed):
        assert len(np.unique(given[crossed == h])) == 1
    first, last = p[bands(p) == 0].min(), p[bands(p) == 4].max()
    assert first > last


def test_few_errors_take_the_exact_interval() -> None:
    found = estimate(np.full(1000, 0.1), np.arange(100), np.zeros(100, dtype=bool))
    assert (found.method, found.rate, found.low) == ("Clopper-Pearson", 0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_classes_with_few_answers_are_left_out() -> None:
    given = np.repeat([0, 1], [40, 10])
    wrong = np.arange(50) % 4 == 0
    (only,) = per_class(given, wrong, ["a", "b"])
    exact = stats.binomtest(10, 40).proportion_ci(0.95, method="exact")
    assert only == pytest.approx(
        {
            "name": "a",
            "judged": 40,
            "wrong": 10,
            "rate": 0.25,
            "low": exact.low,
            "high": exact.high,
        }
    )


def test_confusions_have_intervals_and_no_chance_pairs() -> None:
    given = ["cat"] * 10 + ["dog"] * 10
    right = ["dog"] * 4 + [None] * 2 + ["cat"] * 4 + ["cat"] * 2 + ["dog"] * 8
    (pair,) = confusions(given, right)
    assert (pair["given"], pair["right"], pair["wrong"], pair["judged"]) == (
        "cat",
        "dog",
        4,
        10,
    )
    assert pair["low"] < pair["rate"] == 0.4 < pair["high"]


def test_the_error_of_people_is_found_from_their_differences() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 20_000)) < 0.07
    found = error_of_people(int((first != second).sum()), 20_000)
    assert found.value == pytest.approx(0.07, abs=0.005)
    assert found.low < 0.07 < found.high
    assert error_of_people(0, 30).value == 0.0


def test_the_uniform_estimate_is_the_difference_estimator_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    wrong, p = world(rng)
    sample = rng.choice(len(wrong), 200, replace=False)
    found = estimate(p, sample, wrong[sample])
    y, f, lam = wrong[sample].astype(float), p[sample], found.weight
    rest = y - lam * f
    assert found.method == "prediction-powered" and 0 < lam <= 1
    assert found.rate == pytest.approx(lam * p.mean() + rest.mean())
    # λ is the slope of least squares
    assert lam == pytest.approx(min(1.0, np.polyfit(f, y, 1)[0]))
    variance = (((rest - rest.mean()) ** 2).sum() + p.mean() * (1 - p.mean())) / 200
    error = np.sqrt((1 - 200 / len(p)) * variance / 200)
    logit = np.log(found.rate / (1 - found.rate))
    half = stats.t.ppf(0.975, 200) * error / (found.rate * (1 - found.rate))
    bounds = 1 / (1 + np.exp(-np.array([logit - half, logit + half])))
    assert (found.low, found.high) == pytest.approx(tuple(bounds))


def test_judging_everything_leaves_no_doubt() -> None:
    wrong, p = world(np.random.default_rng(1))
    found = estimate(p, np.arange(len(wrong)), wrong)
    assert found.rate == pytest.approx(wrong.mean())
    assert found.high - found.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("good", [True, False])
def test_uniform_intervals_cover_and_good_scores_narrow_them(good: bool) -> None:
    rng = np.random.default_rng(2)
    wrong, p = world(rng, rate=0.15, good=good)
    hits, widths, plain, rates = 0, [], [], []
    for _ in range(400):
        sample = rng.choice(len(wrong), 120, replace=False)
        found = estimate(p, sample, wrong[sample])
        hits += found.low <= wrong.mean() <= found.high
        widths.append(found.high - found.low)
        plain.append(2 * 1.96 * np.sqrt(wrong[sample].var() / 120))
        rates.append(found.rate)
    assert hits / 400 >= 0.92
    assert np.mean(rates) == pytest.approx(wrong.mean(), abs=0.005)  # unbiased
    assert (np.mean(widths) < 0.85 * np.mean(plain)) == good


def test_constant_scores_do_not_matter() -> None:
    wrong = np.arange(1000) % 5 == 0
    found = estimate(np.full(1000, 0.9), np.arange(200), wrong[:200])
    assert found.weight == 0 and found.rate == pytest.approx(0.2)
