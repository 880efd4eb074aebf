from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelsieve.errors import OptionError
from labelsieve.noise.generators.pair import corrupt


def test_wrong_labels_are_the_next_class() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 8_000)
    noisy = corrupt(labels, 5, 0.3, np.random.default_rng(1))
    assert set(((noisy - labels) % 5).tolist()) == {0, 1}
    assert stats.binomtest(int((noisy != labels).sum()), len(labels), 0.3).pvalue > 1e-4
    assert np.array_equal(
        corrupt(labels, 5, 1.0, np.random.default_rng(1)), (labels + 1) % 5
    )


def test_a_rate_is_a_probability() -> None:
    with pytest.raises(OptionError, match=r"rate of 1.2 is impossible"):
        corrupt(np.zeros(3, dtype=np.int64), 2, 1.2, np.random.default_rng(0))
