from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from labelsieve.errors import OptionError
from labelsieve.noise.generators.instance import corrupt, truncated_normal


def test_the_share_of_flips_is_normal_and_cut_to_probabilities() -> None:
    drawn = truncated_normal(0.1, 20_000, np.random.default_rng(0))
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert stats.kstest(drawn, stats.truncnorm(-1, 9, 0.1, 0.1).cdf).pvalue > 1e-4
    assert drawn.mean() == pytest.approx(0.129, abs=0.003)


def naive(
    labels: np.ndarray, pixels: np.ndarray, classes: int, rate: float, seed: int
) -> np.ndarray:
    """P(label | picture) [n, k] of the paper's algorithm, picture by picture, with the same W
    and q."""
    rng = np.random.default_rng(seed)
    rng.random(len(labels))  # the flips of `corrupt`
    q = truncated_normal(rate, len(labels), rng)
    probs = np.zeros((len(labels), classes))
    for label in range(classes):
        weights = rng.standard_normal((pixels.shape[1], classes))
        rows = np.flatnonzero(labels == label)
        for i in rows:
            a = pixels[i] @ weights
            a[label] = -np.inf
            e = np.exp(a - a.max())
            probs[i] = q[i] * e / e.sum()
            probs[i, label] += 1 - q[i]
        flips = np.random.default_rng(seed).random(len(labels))[rows] < q[rows]
        rng.gumbel(size=(int(flips.sum()), classes))
    return probs


def test_labels_are_drawn_from_the_papers_distribution() -> None:
    """Small pixels, so that the softmax is no single class: frequencies of targets agree with
    their probabilities."""
    rng = np.random.default_rng(0)
    labels, pixels = rng.integers(0, 4, 6_000), 0.3 * rng.standard_normal((6_000, 8))
    probs = naive(labels, pixels, 4, 0.4, 7)
    noisy = corrupt(labels, 4, 0.4, np.random.default_rng(7), {"pixels": pixels})
    assert abs((noisy != labels).mean() - 0.4) < 0.02
    for k in range(4):
        own = noisy == k
        assert abs(own.mean() - probs[:, k].mean()) < 0.02
        assert probs[own, k].mean() > probs[~own, k].mean() + 0.1
    expected, wrong = probs[np.arange(6_000), noisy], noisy != labels
    others = probs.copy()
    others[np.arange(6_000), labels] = 0
    second = (others**2).sum(1) / others.sum(
        1
    )  # expected probability of a target drawn by them
    assert expected[wrong].mean() == pytest.approx(second[wrong].mean(), rel=0.05)


def test_alike_pictures_of_a_class_get_the_same_target_and_centring_spreads_targets() -> (
    None
):
    rng = np.random.default_rng(0)
    labels = np.zeros(3_000, dtype=np.int64)
    pixels = rng.integers(100, 255, (3_000, 48)).astype(float)
    top = []
    for centre in (False, True):
        noisy = corrupt(
            labels,
            6,
            0.5,
            np.random.default_rng(1),
            {"pixels": pixels, "centre": centre},
        )
        counts = np.bincount(noisy, minlength=6)[1:]
        top.append(counts.max() / counts.sum())
    assert top[0] > 0.9 and top[1] < 0.5


def test_pixels_are_needed_for_every_label() -> None:
    with pytest.raises(OptionError, match="needs 'pixels'"):
        corrupt(np.array([0, 1]), 2, 0.5, np.random.default_rng(0))
    with pytest.raises(OptionError, match="must be 2 x any"):
        corrupt(
            np.array([0, 1]),
            2,
            0.5,
            np.random.default_rng(0),
            {"pixels": np.zeros((3, 4))},
        )
