"""How much probes of pictures count beside class names."""

from __future__ import annotations

import numpy as np

from labelsieve.features.zero_shot import softmax
from labelsieve.methods._picture_votes import blended, hearing, mean_of


def votes(n: int, k: int, sizes: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """True classes [n], and two votes on them whose evidence has these sizes."""
    rng = np.random.default_rng(0)
    truth = rng.integers(k, size=n)
    seen = []
    for size in sizes:
        logits = rng.normal(size=(n, k))
        logits[np.arange(n), truth] += size
        # what a normal density says about a mean that is 0 or `size`
        seen.append(softmax(size * logits))
    return truth, *seen


def test_what_knows_nothing_has_no_weight_and_what_knows_has_its_own() -> None:
    truth, names, pictures = votes(4_000, 5, (2.0, 2.0))
    right = np.eye(5)
    weight, temperature = hearing(names, pictures, right, truth)
    assert weight == 1 and abs(temperature - 1) < 0.02
    _, _, blind = votes(4_000, 5, (2.0, 0.0))
    sure = softmax(3 * np.random.default_rng(1).normal(size=blind.shape))
    assert hearing(names, sure, right, truth).weight == 0


def test_two_votes_that_are_one_are_not_counted_twice() -> None:
    truth, names, _ = votes(4_000, 5, (2.0, 2.0))
    weight, temperature = hearing(names, names, np.eye(5), truth)
    assert abs((1 + weight) / temperature - 1) < 0.2


def test_what_is_not_trained_is_not_heard() -> None:
    _, names, pictures = votes(50, 5, (2.0, 1.0))
    np.testing.assert_allclose(
        blended(None, pictures, 0.5), 0.5 * np.log(pictures.clip(1e-9)), rtol=1e-6
    )
    logits = np.log(names)
    np.testing.assert_array_equal(blended(logits, None, 0.5), logits)
    both = np.log(mean_of(names, pictures).clip(1e-9))
    np.testing.assert_allclose(blended(logits, pictures, 1.0), both, rtol=1e-5)
