from __future__ import annotations

import numpy as np
from scipy import stats

from labelsieve.noise.generators.symmetric_biased import corrupt


def test_the_true_class_is_redrawn_as_often_as_any_other() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 20_000)
    noisy = corrupt(labels, 4, 0.6, np.random.default_rng(1))
    wrong = noisy != labels
    assert stats.binomtest(int(wrong.sum()), len(labels), 0.6 * 3 / 4).pvalue > 1e-4
    assert (
        stats.chisquare(
            np.bincount((noisy - labels)[wrong] % 4, minlength=4)[1:]
        ).pvalue
        > 1e-4
    )
    assert stats.chisquare(np.bincount(noisy[wrong], minlength=4)).pvalue > 1e-4


def test_nought_changes_nothing_and_the_seed_decides() -> None:
    labels = np.arange(50) % 5
    assert np.array_equal(corrupt(labels, 5, 0.0, np.random.default_rng(0)), labels)
    one, again, other = (
        corrupt(labels, 5, 0.5, np.random.default_rng(s)) for s in (3, 3, 4)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert np.array_equal(labels, np.arange(50) % 5)
