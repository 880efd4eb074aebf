"""Reference classifiers, which know none of the labels they judge, and how far they agree."""

from __future__ import annotations

import numpy as np

from labelsieve.estimation.agreement import Agreement, compare
from labelsieve.features.neighbours import nearest, votes

SAMPLE = 5_000  # images; every pair of them is compared
NEIGHBOURS = 10  # that vote (Zhu et al., ICML 2022)


def sample_rows(n: int, seed: int) -> np.ndarray:
    """Rows [m] int64, in order, that agreement is measured on: all, or a random `SAMPLE`."""
    rows = np.arange(n)
    if n <= SAMPLE:
        return rows
    # n is part of the seed, so that runs on parts of one data set draw independently
    rng = np.random.default_rng([seed, n])
    return np.sort(rng.choice(rows, SAMPLE, replace=False))


def measure(
    features: np.ndarray, text: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]
) -> Agreement:
    """Compare the model's answers, the vote of the nearest other images and the given labels.

    Args:
        features: [m, d] float32, of images, of length one.
        text: [k, d] float32, of class prompts, of length one.
        labels: [m] int64, given.
        classes: names of the k classes.
    """
    answers = (features @ text.T).argmax(1)
    rows, cosines = nearest(features, NEIGHBOURS)
    # a vote of an opposite picture counts next to nothing, but never against its class
    counts = votes(rows, cosines.clip(1e-6), labels, len(classes))
    return compare(answers, counts.argmax(1), labels, classes)
