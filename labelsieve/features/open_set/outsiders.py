"""How far a picture is from all classes: scores that need no method, to compare methods with.

All of them are higher for pictures that belong to no class, on scales of their own:

    similarity   1 - max_c cos(x, t_c): the best of the class names (Ming et al., "Delving into
                 Out-of-Distribution Detection with Vision-Language Representations", NeurIPS
                 2022, without its softmax)
    energy       -T log Σ_c exp(cos(x, t_c) / T) at the model's temperature T (Liu, Wang, Owens,
                 Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020)
    distance     1 - mean cosine to the nearest other pictures (Sun, Ming, Zhu, Li, "Out-of-
                 Distribution Detection with Deep Nearest Neighbors", ICML 2022, which takes the
                 k-th one)
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from labelsieve.features.task import Task

NEIGHBOURS = 10  # others that an image is compared with
# Images that an image is compared with: all, or an even sample, so that time grows with n.
SAMPLE = 20_000
AT_ONCE = 1_024  # x 20,000 cosines are 82 MB
# Columns of scores that hold such numbers begin with it.
PREFIX = "outsider_"


def isolation(features: np.ndarray) -> np.ndarray:
    """[n] float64, 1 - mean cosine to the nearest other images, or to those of a sample."""
    n = len(features)
    # rows are in the order of contents' hashes, so evenly spaced ones are a fair sample
    rows = np.arange(0, n, max(1, n // SAMPLE))
    sample = np.asarray(features[rows], dtype=np.float32)
    # a picture that is alone is as far from all others as can be told
    if n < 2:
        return np.ones(n)
    count = min(NEIGHBOURS, len(rows) - 1)
    alone = np.empty(n)
    for start in range(0, n, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, n))
        cosines = np.asarray(features[part], dtype=np.float32) @ sample.T
        # an image of the sample is not its own neighbour
        inside = np.flatnonzero((rows >= part.start) & (rows < part.stop))
        cosines[rows[inside] - start, inside] = -np.inf
        # in place: copies of all these cosines were the largest memory of a scan
        np.negative(cosines, out=cosines)
        cosines.partition(count - 1, axis=1)
        alone[part] = 1 + cosines[:, :count].mean(1)
    return alone


def columns(task: Task) -> dict[str, np.ndarray]:
    """Columns for the scores, name -> [n] float64; those of names only where a model reads them."""
    found = {"distance": isolation(task.image_features())}
    # with the user's own embeddings no name says anything about any picture
    if task.class_features().any():
        answer = task.zero_shot()
        scaled = answer.cosines.astype(np.float64) / answer.temperature
        found["similarity"] = 1 - answer.cosines.max(1).astype(np.float64)
        found["energy"] = -answer.temperature * logsumexp(scaled, axis=1)
    return {PREFIX + name: values for name, values in found.items()}
