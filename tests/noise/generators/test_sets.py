"""Labels of sets are dropped and added, each by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelsieve.errors import OptionError
from labelsieve.noise.generators.sets import corrupt

TRUE = np.random.default_rng(0).random((4_000, 6)) < 0.3


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_sets_stay_sets_and_the_input_stays_as_it_was(
    rate: float, added: float, seed: int
) -> None:
    true = TRUE[:200]
    before = true.copy()
    noisy = corrupt(true, 6, rate, np.random.default_rng(seed), {"added": added})
    assert np.array_equal(true, before)
    assert noisy.dtype == bool and noisy.shape == true.shape


def test_as_many_come_and_go_as_are_asked_for() -> None:
    noisy = corrupt(TRUE, 6, 0.2, np.random.default_rng(1), {"added": 0.1})
    there = TRUE.sum()
    assert (TRUE & ~noisy).sum() / there == pytest.approx(0.2, abs=0.02)
    assert (noisy & ~TRUE).sum() / there == pytest.approx(0.1, abs=0.02)
    # of each class alike
    gone = (TRUE & ~noisy).sum(axis=0) / TRUE.sum(axis=0)
    assert gone.max() - gone.min() < 0.07


def test_without_added_labels_only_go() -> None:
    noisy = corrupt(TRUE, 6, 0.5, np.random.default_rng(1))
    assert not (noisy & ~TRUE).any() and (TRUE & ~noisy).any()
    assert np.array_equal(corrupt(TRUE, 6, 0.0, np.random.default_rng(1)), TRUE)
    assert not corrupt(TRUE, 6, 1.0, np.random.default_rng(1)).any()


@pytest.mark.parametrize("added", [-0.1, float("nan"), 3.0])
def test_what_cannot_be_added_is_refused(added: float) -> None:
    with pytest.raises(OptionError, match=r"Give a smaller --added"):
        corrupt(TRUE, 6, 0.1, np.random.default_rng(1), {"added": added})
