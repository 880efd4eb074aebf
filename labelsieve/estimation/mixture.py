"""Two clusters of numbers: which values belong to the larger ones."""

from __future__ import annotations

import warnings

import numpy as np

LEAST_VARIANCE = 5e-4  # of values scaled to [0, 1]; DivideMix's code has the same


def upper_cluster(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Posterior [n] of the Gaussian with the larger mean, of two that are fitted to `values` [n].

    As in DivideMix (Li et al., ICLR 2020): values are scaled to [0, 1] by their extremes.
    Differences: the seed is given, EM runs until it converges, and the posterior never falls as
    the value rises (with unequal variances the far tail of the wide Gaussian would otherwise
    take over at the other end). Values that are all the same, or fewer than two, belong to the
    upper cluster.
    """
    # takes a second to load, which most methods can spare
    from sklearn.mixture import GaussianMixture

    if len(values) < 2 or np.ptp(values) < 1e-12:
        return np.ones(len(values))
    low = values.min()
    scaled = ((values - low) / (values.max() - low))[:, None]
    mixture = GaussianMixture(
        2, max_iter=200, tol=1e-4, reg_covar=LEAST_VARIANCE, random_state=seed
    )
    with warnings.catch_warnings():
        # k-means finds fewer than two values that differ, or EM wants more rounds: either way
        # the fit is good enough to tell large values from small ones
        warnings.simplefilter("ignore")
        mixture.fit(scaled)
    posterior = mixture.predict_proba(scaled)[:, mixture.means_[:, 0].argmax()]
    return _never_falling(scaled[:, 0], posterior, mixture.means_.min())


def _never_falling(
    values: np.ndarray, posterior: np.ndarray, lower_mean: float
) -> np.ndarray:
    """The posterior [n] as a function of the value that never falls.

    Below the lower mean it is its least so far, coming from above; elsewhere its largest.
    """
    order = np.argsort(values, kind="stable")
    fixed = posterior[order]
    below = values[order] <= lower_mean
    fixed[below] = np.minimum.accumulate(fixed[below][::-1])[::-1]
    rising = np.empty_like(posterior)
    rising[order] = np.maximum.accumulate(fixed)
    return rising
