from __future__ import annotations

import numpy as np
import pytest

from labelsieve.errors import OptionError
from labelsieve.noise.generators.asymmetric import corrupt


def test_classes_become_what_they_are_taken_for() -> None:
    labels = np.random.default_rng(0).integers(0, 4, 8_000)
    targets = np.array([2, -1, 0, 1])
    noisy = corrupt(labels, 4, 0.4, np.random.default_rng(1), {"targets": targets})
    assert np.array_equal(noisy[labels == 1], labels[labels == 1])
    for k in (0, 2, 3):
        own = noisy[labels == k]
        assert set(own.tolist()) == {k, targets[k]}
        assert abs((own != k).mean() - 0.4) < 0.06


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, "needs 'targets'"),
        ({"targets": np.array([1, 0])}, "has the shape 2"),
        ({"targets": np.array([0, 2, 1])}, "to itself or to an unknown"),
        ({"targets": np.array([3, 0, 1])}, "to itself or to an unknown"),
    ],
)
def test_targets_must_be_other_classes(
    context: dict[str, np.ndarray] | None, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        corrupt(np.array([0, 1, 2]), 3, 0.5, np.random.default_rng(0), context)
