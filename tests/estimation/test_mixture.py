"""The posterior of the larger cluster: Bayes' rule of two Gaussians, made to rise with the
value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from labelsieve.estimation import mixture


def test_it_is_bayes_rule_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 3000), rng.normal(6, 1, 1000)])
    result = mixture.upper_cluster(values)
    low, high = 0.75 * norm.pdf(values, 0, 1), 0.25 * norm.pdf(values, 6, 1)
    assert np.abs(result - high / (low + high)).max() < 0.1
    assert np.abs(result - high / (low + high)).mean() < 0.01


@pytest.mark.parametrize("widths", [(0.2, 3.0), (3.0, 0.2)])
def test_it_never_falls_as_the_value_rises(widths: tuple[float, float]) -> None:
    """The wide Gaussian has more mass than the narrow one far out on either side."""
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.normal(0, widths[0], 500), rng.normal(4, widths[1], 500)]
    )
    result = mixture.upper_cluster(values)
    order = np.argsort(values)
    assert (np.diff(result[order]) >= 0).all()
    assert result[order][0] < 0.5 < result[order][-1]
    assert 0.1 < (result > 0.5).mean() < 0.9


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_values_without_two_groups_are_the_upper_one(values: list[float]) -> None:
    assert mixture.upper_cluster(np.array(values)).tolist() == [1.0] * len(values)


def test_turning_scale_and_place_changes_nothing() -> None:
    values = np.random.default_rng(0).gamma(1.0, 1.0, 200)
    assert np.allclose(
        mixture.upper_cluster(5 * values - 3), mixture.upper_cluster(values), atol=1e-6
    )
