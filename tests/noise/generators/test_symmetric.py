from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labelsieve.errors import OptionError
from labelsieve.noise.generators.symmetric import corrupt

rates, sizes, seeds = st.floats(0, 1), st.integers(2, 12), st.integers(0, 2**32 - 1)


def draw(classes: int, seed: int, n: int = 400) -> np.ndarray:
    return np.random.default_rng(seed + 1).integers(0, classes, n)


@given(rates, sizes, seeds)
def test_labels_stay_labels_and_the_input_stays_as_it_was(
    rate: float, classes: int, seed: int
) -> None:
    labels = draw(classes, seed)
    before = labels.copy()
    noisy = corrupt(labels, classes, rate, np.random.default_rng(seed))
    assert np.array_equal(labels, before)
    assert noisy.dtype == np.int64 and noisy.shape == labels.shape
    assert noisy.min() >= 0 and noisy.max() < classes


@given(sizes, seeds)
def test_a_replaced_label_is_never_the_same_class(classes: int, seed: int) -> None:
    labels = draw(classes, seed)
    assert (corrupt(labels, classes, 1.0, np.random.default_rng(seed)) != labels).all()
    assert (corrupt(labels, classes, 0.0, np.random.default_rng(seed)) == labels).all()


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.8])
def test_the_real_rate_lies_within_the_binomial_interval_of_the_nominal_one(
    rate: float,
) -> None:
    labels = draw(10, 0, 20_000)
    wrong = int((corrupt(labels, 10, rate, np.random.default_rng(7)) != labels).sum())
    low, high = stats.binom.interval(0.9999, len(labels), rate)
    assert low <= wrong <= high


def test_the_other_classes_are_equally_likely() -> None:
    noisy = corrupt(np.full(30_000, 3), 5, 0.5, np.random.default_rng(0))
    met = np.bincount(noisy, minlength=5)[[0, 1, 2, 4]]
    assert stats.chisquare(met).pvalue > 1e-4


@given(seeds, rates)
def test_the_seed_decides_all(seed: int, rate: float) -> None:
    labels = draw(6, seed)
    once, again = (
        corrupt(labels, 6, rate, np.random.default_rng(seed)) for _ in range(2)
    )
    assert np.array_equal(once, again)


def test_another_seed_gives_other_errors_and_global_state_gives_none() -> None:
    labels = draw(6, 0)
    np.random.seed(0)  # noqa: NPY002
    first = corrupt(labels, 6, 0.5, np.random.default_rng(1))
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, corrupt(labels, 6, 0.5, np.random.default_rng(1)))
    assert not np.array_equal(first, corrupt(labels, 6, 0.5, np.random.default_rng(2)))


@pytest.mark.parametrize("rate", [-0.1, 1.01, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(OptionError, match=r"noise rate of .* is impossible"):
        corrupt(np.zeros(3, np.int64), 2, rate, np.random.default_rng(0))


def test_one_class_is_refused() -> None:
    with pytest.raises(OptionError, match=r"among 1 class"):
        corrupt(np.zeros(3, np.int64), 1, 0.5, np.random.default_rng(0))
