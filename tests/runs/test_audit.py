from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelsieve.runs import audit
from labelsieve.runs.audit import estimate, judged, order
from labelsieve.runs.decisions import Decision, Decisions


def population(
    rng: np.random.Generator, n: int = 3000, informative: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    wrong = rng.random(n) < 0.15
    scores = np.clip(rng.normal(np.where(wrong & informative, 0.6, 0.2), 0.2), 0, 1)
    return wrong, scores


def test_the_estimate_is_the_difference_estimator_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    wrong, scores = population(rng)
    sample = rng.choice(len(wrong), 200, replace=False)
    found = estimate(scores, sample, wrong[sample])
    y, f, lam = wrong[sample].astype(float), scores[sample], found.weight
    residuals = [a - lam * b for a, b in zip(y, f, strict=True)]
    assert found.method == "prediction-powered" and 0 < lam <= 1
    assert found.rate == pytest.approx(
        lam * sum(scores) / len(scores) + sum(residuals) / 200
    )
    half = stats.t.ppf(0.975, 199) * np.sqrt(
        (1 - 200 / 3000) * np.var(residuals, ddof=1) / 200
    )
    assert (found.low, found.high) == pytest.approx(
        (found.rate - half, found.rate + half)
    )


def test_lambda_is_the_least_squares_slope() -> None:
    rng = np.random.default_rng(5)
    wrong, scores = population(rng)
    sample = np.arange(300)
    slope = np.polyfit(scores[:300], wrong[:300].astype(float), 1)[0]
    assert estimate(scores, sample, wrong[:300]).weight == pytest.approx(slope)


def test_judging_everything_leaves_no_doubt() -> None:
    wrong, scores = population(np.random.default_rng(1))
    found = estimate(scores, np.arange(len(wrong)), wrong)
    assert found.rate == pytest.approx(
        wrong.mean()
    ) and found.high - found.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("informative", [True, False])
def test_intervals_cover_and_good_scores_narrow_them(informative: bool) -> None:
    rng = np.random.default_rng(2)
    wrong, scores = population(rng, informative=informative)
    hits, widths, plain, rates = 0, [], [], []
    for _ in range(400):
        sample = rng.choice(len(wrong), 120, replace=False)
        found = estimate(scores, sample, wrong[sample])
        hits += found.low <= wrong.mean() <= found.high
        widths.append(found.high - found.low)
        plain.append(2 * 1.96 * np.sqrt(wrong[sample].var() / 120))
        rates.append(found.rate)
    assert hits / 400 >= 0.92
    assert np.mean(rates) == pytest.approx(wrong.mean(), abs=0.005)  # unbiased
    assert (np.mean(widths) < 0.85 * np.mean(plain)) == informative


def test_few_errors_take_the_exact_binomial_interval() -> None:
    scores = np.full(1000, 0.1)
    found = estimate(scores, np.arange(100), np.zeros(100, dtype=bool))
    assert (found.method, found.rate, found.low) == ("Clopper-Pearson", 0.0, 0.0)
    assert found.high == pytest.approx(
        1 - 0.025 ** (1 / 100)
    )  # the closed form for no errors


def test_constant_scores_do_not_matter() -> None:
    wrong = np.arange(1000) % 5 == 0
    found = estimate(np.full(1000, 0.9), np.arange(200), wrong[:200])
    assert found.weight == 0 and found.rate == pytest.approx(0.2)


def test_the_order_depends_on_ids_alone() -> None:
    ids = [f"{k}.png#abc" for k in range(200)]
    assert order(ids) == order(ids[::-1]) != sorted(ids)
    assert order(ids, 1) != order(ids)
    assert [i for i in order(ids) if i in set(ids[:50])] == order(ids[:50])


def test_only_the_unbroken_start_of_the_order_counts() -> None:
    def said(verdict: str) -> Decision:
        return Decision(1, "", verdict, None, "w", "", None)

    current = {
        "a": said("keep"),
        "b": said("accept"),
        "c": said("skip"),
        "d": said("wrong"),
        "f": said("none"),
    }
    assert judged(list("abcdef"), current) == (
        ["a", "b", "d"],
        [False, True, True],
        1,
    )  # e is missing: f does not count


def test_audit_of_a_run(planted: object) -> None:
    run, truth, given = planted.run, planted.truth, planted.given  # type: ignore[attr-defined]
    assert audit.of_run(run, None) is None
    decisions = Decisions(run.folder)
    assert audit.of_run(run, decisions) is None
    for sample_id in order(list(given))[:40]:
        decisions.add(
            sample_id, "keep" if truth[sample_id] == given[sample_id] else "wrong"
        )
    found = audit.of_run(run, decisions)
    assert found is not None and found.judged == 40
    assert found.low <= 0.25 <= found.high and found.wrong == sum(
        truth[i] != given[i] for i in order(list(given))[:40]
    )
