"""Two clusters of numbers: which values belong to the larger ones."""

from __future__ import annotations

import warnings

import numpy as np


def upper_cluster(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Posterior [n] of the Gaussian with the larger mean, of two that are fitted to `values` [n].

    As in DivideMix (Li et al., ICLR 2020): values are scaled to [0, 1] by their extremes, variances are at least 5e-4.
    Differences: the seed is given, EM runs until it converges, and the posterior never falls as the value rises (with
    unequal variances the far tail of the wide Gaussian would else take over at the other end). Values that are all the
    same, or fewer than two, belong to the upper cluster.
    """
    from sklearn.mixture import GaussianMixture

    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if len(values) < 2 or high - low < 1e-12:
        return np.ones(len(values))
    scaled = ((values - low) / (high - low))[:, None]
    mixture = GaussianMixture(
        2, max_iter=200, tol=1e-4, reg_covar=5e-4, random_state=seed
    )
    with (
        warnings.catch_warnings()
    ):  # k-means finds fewer than two points that differ, or EM wants more rounds
        warnings.simplefilter("ignore")
        mixture.fit(scaled)
    posterior = mixture.predict_proba(scaled)[:, mixture.means_[:, 0].argmax()]
    return _never_falling(scaled[:, 0], posterior, mixture.means_.min())


def _never_falling(
    values: np.ndarray, posterior: np.ndarray, lower_mean: float
) -> np.ndarray:
    """The posterior as a function of the value that rises: below the lower mean its least so far, above its largest."""
    order = np.argsort(values, kind="stable")
    fixed = posterior[order]
    below = values[order] <= lower_mean
    fixed[below] = np.minimum.accumulate(fixed[below][::-1])[::-1]
    rising = np.empty_like(posterior)
    rising[order] = np.maximum.accumulate(fixed)
    return rising
