"""Nearest neighbours: a label is suspect where the most similar pictures carry another one.

Vote of the m nearest other pictures in the space of the image tower, c[j] = Σ max(cos, 0) over neighbours labelled j;
p_clean = c[given] / Σ c, own rule: another class has more votes. The voting of SimiFeat (Zhu et al., ICML 2022; here
`simifeat`) without augmented views, transition matrix and a vote of the picture itself, so that the votes do not know
the label they judge. Deep k-NN (Bahri et al., ICML 2020) is the same with a trained network's features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from labelsieve.data.dataset import Dataset
from labelsieve.features.cached import image_features
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "one pass of the image tower (cached); every pair of images is compared: quadratic, at most 300,000 images"
NEEDS = ()
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings:
    """See the module's docstring."""

    neighbours: int = 50
    weights: Literal["cosine", "equal"] = "cosine"
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, neighbours=1)


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Let the neighbours vote on each label."""
    rows, cosines = nearest(image_features(images, encoder), settings.neighbours)
    weights = (
        cosines.clip(1e-6) if settings.weights == "cosine" else np.ones_like(cosines)
    )
    counts = votes(rows, weights, images.labels, len(images.classes))
    probs = counts / counts.sum(1, keepdims=True)
    given = probs[np.arange(len(images)), images.labels]
    own = probs.max(1) > given if settings.flags == "own" else None
    return judged(
        images,
        run,
        probs,
        -given,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=given,
    )
