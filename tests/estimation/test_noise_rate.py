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
