"""The summary of a posterior adds up."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.noisy_labels import K, N, world

from labelsieve.estimation import noise_rate
from labelsieve.estimation import transition as estimate


def test_the_summary_adds_up() -> None:
    probs, truth, labels = world()
    transition = estimate.fit_transition(probs, labels)
    posterior = transition.posterior(transition.calibrate(probs), labels)
    noise = noise_rate.summarise(
        posterior, labels, ("a", "b", "c", "d"), transition.rates
    )
    assert noise.low <= noise.rate <= noise.high
    assert noise.low <= (labels != truth).mean() <= noise.high
    assert noise.rate == pytest.approx(1 - np.trace(noise.matrix))
    counts = np.bincount(labels, minlength=K)
    shares = np.array(list(noise.per_class.values()))
    assert (shares * counts).sum() / N == pytest.approx(noise.rate)
    assert noise.pairs[0]["images"] == pytest.approx(
        (noise.matrix - np.diag(np.diag(noise.matrix))).max() * N
    )
    wider = noise_rate.summarise(
        posterior, labels, ("a", "b", "c", "d"), (*transition.rates, 0.9)
    )
    assert wider.high > noise.high and wider.rate == noise.rate


def test_figures_per_class_and_pair_lie_in_intervals_that_add_up_to_the_whole() -> None:
    probs, truth, _ = world()
    rng = np.random.default_rng(2)
    # errors between two pairs of classes, one as often as the other: frequencies stay
    partner = truth ^ 1
    labels = np.where(rng.random(N) < np.where(truth < 2, 0.3, 0.1), partner, truth)
    transition = estimate.fit_transition(probs, labels)
    posterior = transition.posterior(transition.calibrate(probs), labels)
    noise = noise_rate.summarise(posterior, labels, tuple("abcd"), transition.rates)
    counts = np.bincount(labels, minlength=K)
    lows, highs = np.array(list(noise.class_intervals.values())).T
    shares = np.array(list(noise.per_class.values()))
    assert (lows <= shares).all() and (shares <= highs).all()
    # parts are less certain than the whole, but not about anything else
    assert counts @ lows / N <= noise.low + 0.01
    assert noise.high - 0.01 <= counts @ highs / N <= noise.high + 0.08
    # every class's own truth, which nobody told
    for number, (low, high) in enumerate(zip(lows, highs, strict=True)):
        of_class = labels == number
        assert low <= (truth != labels)[of_class].mean() <= high
    for pair in noise.pairs:
        assert 0 <= pair["low"] <= pair["images"] <= pair["high"]
    worst = noise.pairs[0]
    given, true = ("abcd".index(worst[key]) for key in ("given", "suggested"))
    assert worst["low"] <= ((labels == given) & (truth == true)).sum() <= worst["high"]


def test_a_class_without_images_or_errors_has_an_interval() -> None:
    posterior = np.eye(3)[[0, 0, 1, 1]]
    noise = noise_rate.summarise(posterior, np.array([0, 0, 1, 1]), tuple("abc"), [])
    assert noise.rate == 0 and noise.per_class == {"a": 0.0, "b": 0.0, "c": 0.0}
    for low, high in noise.class_intervals.values():
        assert low == 0 and 0 < high <= 1


def test_an_interval_over_half_of_the_scale_says_little() -> None:
    assert noise_rate.says_little(0.0, 1.0) and noise_rate.says_little(0.1, 0.61)
    assert not noise_rate.says_little(0.0, 0.5)
    guess = noise_rate.summarise(np.full((5, 2), 0.5), np.zeros(5, int), ("a", "b"), [])
    assert not guess.as_dict()["informative"]


@pytest.mark.parametrize("knows_names", [True, False])
def test_labels_under_swapped_names_count_as_wrong(knows_names: bool) -> None:
    """Whether the posterior speaks of names, or of classes as they are labelled."""
    shown = np.repeat([0, 1, 2, 3], [30, 30, 20, 20])
    labels = np.array([1, 0, 2, 3])[shown]  # the first two have each other's name
    labels[:3] = 0  # three of them bear their own name by mistake
    # as labelled: pictures of class 0 are what is called 1
    seen = shown if knows_names else np.array([1, 0, 2, 3])[shown]
    posterior = 0.98 * np.eye(4)[seen] + 0.005
    noise = noise_rate.summarise(posterior, labels, tuple("abcd"), [0.05, 0.6])
    found = noise_rate.by_names(noise, {"a": "b", "b": "a"}, 100)
    assert found.rate == pytest.approx((labels != shown).mean(), abs=0.03)
    assert found.low <= found.rate <= found.high
    assert found.renamed == pytest.approx(0.6)
    assert found.per_class["a"] == pytest.approx(30 / 33, abs=0.03)
    assert found.per_class["c"] == pytest.approx(0.015)
    assert (found.pairs[0]["given"], found.pairs[0]["suggested"]) == ("a", "b")
    assert noise_rate.by_names(noise, {}, 100) is noise
