from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.methods import surrogate


def rows(seed: int, n: int = 6, k: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), n)


@pytest.mark.parametrize("seed", range(4))
def test_divergence_is_jensen_shannons(seed: int) -> None:
    p, q = rows(seed), rows(seed + 1)
    wanted = [
        sum(
            0.5 * x * np.log(x / ((x + y) / 2)) + 0.5 * y * np.log(y / ((x + y) / 2))
            for x, y in zip(a, b, strict=True)
        )
        for a, b in zip(p, q, strict=True)
    ]
    found = surrogate.divergence(p, q)
    assert np.allclose(found, wanted, atol=1e-9)
    assert (
        np.allclose(found, surrogate.divergence(q, p))
        and found.max() <= np.log(2) + 1e-12
    )
    assert np.allclose(surrogate.divergence(p, p), 0)


def test_transition_averages_answers_by_given_label() -> None:
    probs, labels = rows(0), np.array([0, 0, 1, 1, 1, 0])
    found = surrogate.transition(probs, labels)
    assert np.allclose(found[0], probs[[0, 1, 5]].mean(0)) and np.allclose(
        found[1], probs[2:5].mean(0)
    )
    assert np.allclose(found.sum(1), 1) and found[2].tolist() == [0, 0, 1]


def test_own_rule_is_the_threshold_on_the_given_label(
    plant: Callable[..., Any],
) -> None:
    planted = plant(noise=60.0)
    q = planted.task.zero_shot().probs()[np.arange(120), planted.images.labels]
    shares = []
    for rho in (0.05, 0.3, 0.9):
        found = planted.detect(surrogate, rho=rho, flags="own")
        assert np.array_equal(found.flagged, q <= rho)
        assert np.allclose(found.columns["score"], q)
        shares.append(found.flagged.mean())
    assert shares == sorted(shares)


def test_at_temperature_one_nothing_passes_one_half(plant: Callable[..., Any]) -> None:
    planted = plant()
    assert planted.detect(
        surrogate, rho=0.5, temperature=1.0, flags="own"
    ).flagged.all()
    assert (
        planted.detect(surrogate, rho=0.5, flags="own").flagged == planted.wrong
    ).mean() > 0.95


def test_thresholds_of_classes_follow_their_own_confidence() -> None:
    """A class the model is never sure of keeps its labels; one threshold would drop them all."""
    labels = np.array([0] * 6 + [1] * 6)
    given = np.array([0.9] * 5 + [0.1] + [0.3] * 5 + [0.02])
    probs = np.stack(
        [
            np.where(labels == 0, given, 1 - given),
            np.where(labels == 1, given, 1 - given),
        ],
        axis=1,
    )
    settings = surrogate.Settings(threshold="class", rho=0.5)
    kept = given > surrogate.least(probs, labels, settings)
    assert kept.tolist() == ([True] * 5 + [False]) * 2
    assert np.allclose(
        surrogate.least(probs, labels, settings), np.where(labels == 0, 0.45, 0.15)
    )
    assert (given > surrogate.least(probs, labels, surrogate.Settings(rho=0.5)))[
        6:
    ].sum() == 0


def test_ambiguity_is_a_rule_only_where_asked_for(plant: Callable[..., Any]) -> None:
    planted = plant(each=10, noise=60.0)
    plain = planted.detect(surrogate, second_template="{}", flags="own")
    ambiguity = plain.columns["ambiguity"]
    mu = float(np.median(ambiguity))
    with_mu = planted.detect(surrogate, second_template="{}", mu=mu, flags="own")
    assert ambiguity.max() > 0
    assert np.array_equal(with_mu.flagged, plain.flagged | (ambiguity >= mu))
    with pytest.raises(OptionError, match="second_template 'a photo'"):
        surrogate.Settings(second_template="a photo")
