from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelsieve.errors import OptionError
from labelsieve.noise.generators.class_conditional import corrupt

MATRIX = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])


def test_labels_are_drawn_from_the_row_of_their_class() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 9_000)
    noisy = corrupt(labels, 3, 0.0, np.random.default_rng(1), {"matrix": MATRIX})
    for k in (0, 2):
        counts = np.bincount(noisy[labels == k], minlength=3)
        assert stats.chisquare(counts, MATRIX[k] * counts.sum()).pvalue > 1e-4
    assert (noisy[labels == 1] == 1).all()
    assert np.array_equal(
        corrupt(labels, 3, 0.9, np.random.default_rng(1), {"matrix": np.eye(3)}), labels
    )


def test_rows_must_be_distributions() -> None:
    for matrix, message in (
        (MATRIX * 0.5, "Row 0 of the matrix sums to 0.5"),
        (np.eye(2), "has the shape 2 x 2"),
        (np.array([[1.5, -0.5, 0], [0, 1, 0], [0, 0, 1]]), "Row"),
    ):
        with pytest.raises(OptionError, match=message):
            corrupt(
                np.array([0, 1, 2]),
                3,
                0.0,
                np.random.default_rng(0),
                {"matrix": matrix},
            )
