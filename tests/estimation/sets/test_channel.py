"""The four-parameter logistic model: recovered where it holds, wide where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from labelsieve.estimation.calibration import logit, sigmoid
from labelsieve.estimation.sets.channel import (
    BINS,
    Channel,
    count,
    fit,
    log_likelihood,
    tenable,
)


def drawn(
    n: int, dropped: float, added: float, slope: float = 4.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, true sets and given sets of three classes from the model itself."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 3)) * [1.0, 5.0, 0.1] + [0.0, -3.0, 40.0]
    standard = (scores - scores.mean(0)) / scores.std(0)
    true = rng.random((n, 3)) < sigmoid(slope * standard - 1)
    given = true & (rng.random((n, 3)) >= dropped)
    given |= ~true & (rng.random((n, 3)) < added)
    return scores, true, given


def test_counts_are_those_of_the_pictures() -> None:
    scores, _, given = drawn(1_001, 0.1, 0.05)
    counts = count(scores, given)
    assert counts.labels.shape == (3, BINS, 2)
    assert (counts.labels.sum(1)[:, 1] == given.sum(0)).all()
    assert counts.labels.sum() == 3 * 1_001
    assert (np.diff(counts.centre, axis=1) > 0).all()
    # few pictures: a bin each, and equal scores do no harm
    few = count(np.zeros((3, 1)), np.array([[True], [False], [False]]))
    assert few.labels.sum(1).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("dropped", "added"), [(0.0, 0.0), (0.1, 0.05), (0.3, 0.02), (0.02, 0.2)]
)
def test_the_parameters_of_the_model_are_found(dropped: float, added: float) -> None:
    scores, true, given = drawn(20_000, dropped, added)
    channel = fit(count(scores, given))
    assert np.abs(channel.dropped - dropped).max() < 0.03
    assert np.abs(channel.added - added).max() < 0.02
    # probabilities mean what they say, by their logit in ten groups
    posterior = channel.posterior(scores, given)
    order = np.argsort(posterior.reshape(-1))
    for part in np.array_split(order, 10):
        said = posterior.reshape(-1)[part].mean()
        assert abs(said - true.reshape(-1)[part].mean()) < 0.02


def test_bins_change_nothing_that_matters() -> None:
    scores, _, given = drawn(5_000, 0.1, 0.05)
    fine, coarse = fit(count(scores, given, 2_000)), fit(count(scores, given))
    gap = fine.posterior(scores, given) - coarse.posterior(scores, given)
    assert np.abs(gap).max() < 0.02


def test_the_posterior_is_bayes_rule() -> None:
    channel = Channel(*(np.array([x]) for x in (0.5, 2.0, 1.5, -0.3, 0.2, 0.1)))
    s = np.array([[1.7], [1.7]])
    p = sigmoid(np.array(1.5 * (1.7 - 0.5) / 2 - 0.3))
    with_label = p * 0.8 / (p * 0.8 + (1 - p) * 0.1)
    without = p * 0.2 / (p * 0.2 + (1 - p) * 0.9)
    found = channel.posterior(s, np.array([[True], [False]]))
    assert np.allclose(found[:, 0], [with_label, without])


def test_likelihood_rises_to_the_fit_and_intervals_hold_the_truth() -> None:
    scores, _, given = drawn(4_000, 0.1, 0.05)
    counts = count(scores, given)
    best = fit(counts)
    likeliest = log_likelihood(counts, best)
    others = tenable(counts, best)
    # the prior may cost the fit a trifle of likelihood
    assert all((log_likelihood(counts, o) < likeliest + 1.5).all() for o, _ in others)
    for number in range(3):
        kept = [o.dropped[number] for o, holds in others if holds[number]]
        assert min(kept) <= 0.1 <= max(kept)


def test_a_score_that_knows_nothing_says_nothing() -> None:
    rng = np.random.default_rng(1)
    given = rng.random((3_000, 2)) < 0.3
    scores = rng.normal(size=(3_000, 2))
    counts = count(scores, given)
    best = fit(counts)
    posterior = best.posterior(scores, given)
    # given labels are hardly doubted, and hardly any is missed
    assert posterior[given].min() > 0.7 and posterior[~given].max() < 0.3
    kept = [o.dropped[0] for o, holds in tenable(counts, best) if holds[0]]
    assert max(kept) - min(kept) > 0.3


def test_classes_are_judged_apart_and_their_order_does_not_matter() -> None:
    scores, _, given = drawn(800, 0.1, 0.05)
    order = [2, 0, 1]
    whole = fit(count(scores, given)).posterior(scores, given)
    turned = fit(count(scores[:, order], given[:, order]))
    again = turned.posterior(scores[:, order], given[:, order])
    assert np.allclose(whole[:, order], again, atol=1e-4)
    # a class that all have, and one that none has
    given[:, 0], given[:, 1] = True, False
    posterior = fit(count(scores, given)).posterior(scores, given)
    assert np.isfinite(posterior).all()


def test_a_higher_score_is_never_less_likely() -> None:
    scores, _, given = drawn(2_000, 0.1, 0.05)
    posterior = fit(count(scores, given)).posterior(scores, given)
    for label in (False, True):
        rows = np.flatnonzero(given[:, 0] == label)
        rows = rows[np.argsort(scores[rows, 0])]
        assert (np.diff(logit(posterior[rows, 0])) >= -1e-9).all()
