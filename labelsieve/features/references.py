"""Reference classifiers that know none of the labels they judge, and how far they agree with them."""

from __future__ import annotations

import numpy as np

from labelsieve.data.dataset import Dataset
from labelsieve.estimation.agreement import FITS, Agreement, compare
from labelsieve.features.cached import some_features
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.probe import out_of_fold
from labelsieve.features.zero_shot import class_features, zero_shot
from labelsieve.models.encoder import DualEncoder

SAMPLE = 5_000  # images; every pair of them is compared


NEIGHBOURS = 10  # that vote (Zhu et al., ICML 2022)


def measure(images: Dataset, encoder: DualEncoder, seed: int) -> Agreement:
    """Ask the three reference classifiers about a random sample of the images."""
    rows = np.arange(len(images))
    if len(rows) > SAMPLE:
        rows = np.sort(
            np.random.default_rng([seed, len(rows)]).choice(rows, SAMPLE, replace=False)
        )
    features, labels = some_features(images, encoder, rows), images.labels[rows]
    answers = (
        features @ class_features(encoder, images.names, images.template).T
    ).argmax(1)
    near, cosines = nearest(features, NEIGHBOURS)
    said = votes(near, cosines.clip(1e-6), labels, len(images.classes)).argmax(1)
    return compare(answers, said, labels, images.classes)


def reference_probs(
    images: Dataset, encoder: DualEncoder, seed: int
) -> dict[str, np.ndarray]:
    """Class probabilities [n, k] that know none of the labels they judge, for `labelsieve.estimation.transition.select`.

    Text alone where it fits all classes, else also a probe on the pictures, out of fold.
    """
    found = {"text": zero_shot(images, encoder).probs()}
    if measure(images, encoder, seed).verdict != FITS:
        found["pictures"] = out_of_fold(images, encoder, seed).astype(np.float64)
    return found
