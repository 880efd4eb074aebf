from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from labelsieve.methods import transport


def answers(n: int = 40, k: int = 3, seed: int = 0) -> np.ndarray:
    return log_softmax(2 * np.random.default_rng(seed).standard_normal((n, k)), axis=1)


def sinkhorn(
    cost: np.ndarray, rows: np.ndarray, columns: np.ndarray, epsilon: float
) -> np.ndarray:
    """The plan, by scaling the kernel's rows and columns in turn."""
    plan = np.exp(-cost / epsilon)
    for _ in range(3000):
        plan *= (rows / plan.sum(1))[:, None]
        plan *= columns / plan.sum(0)
    return plan


@pytest.mark.parametrize("epsilon", [1.0, 0.2])
def test_the_plan_is_sinkhorns(epsilon: float) -> None:
    log_p, marginal = answers(), np.array([0.2, 0.3, 0.5])
    g, error = transport.potentials(log_p, marginal, epsilon, 500)
    plan = np.exp(log_softmax((log_p + g) / epsilon, axis=1)) / len(log_p)
    assert error < 1e-4
    assert np.allclose(plan.sum(0), marginal, atol=1e-4)
    assert np.allclose(
        plan, sinkhorn(-log_p, np.full(40, 1 / 40), marginal, epsilon), atol=1e-5
    )


def test_classes_get_what_their_labels_say(plant: Callable[..., Any]) -> None:
    planted = plant(each=[30, 6, 12, 12], rate=0.0)
    found = planted.detect(transport, flags="own")
    assert not found.flagged.any() and found.facts["marginal_error"] < 0.05


def test_a_class_that_the_model_prefers_is_held_to_its_share() -> None:
    log_p = answers(150)
    biased = log_softmax(log_p + np.array([1.5, 0, 0]), axis=1)
    marginal = np.full(3, 1 / 3)
    share = [
        np.bincount(
            (p + transport.potentials(p, marginal, 0.01, 500)[0]).argmax(1), minlength=3
        )
        / 150
        for p in (log_p, biased)
    ]
    assert np.bincount(biased.argmax(1), minlength=3)[0] > 70
    assert (
        np.abs(share[0] - 1 / 3).max() < 0.05 and np.abs(share[1] - 1 / 3).max() < 0.05
    )


def test_the_score_is_the_softmax_with_potentials_at_the_models_temperature(
    plant: Callable[..., Any],
) -> None:
    planted = plant(each=8, noise=60.0)
    found, labels = planted.detect(transport, flags="own"), planted.images.labels
    log_p = log_softmax(
        planted.task.zero_shot().cosines.astype(np.float64) * 50,
        axis=1,
    )
    marginal = np.bincount(labels, minlength=4) / len(labels)
    g, _ = transport.potentials(log_p, marginal, 0.01, 200)
    probs = np.exp(log_softmax(log_p + g, axis=1))
    assert np.array_equal(found.flagged, probs.argmax(1) != labels)
    given = probs[np.arange(len(labels)), labels]
    assert np.allclose(found.columns["score"], given, atol=1e-5)
