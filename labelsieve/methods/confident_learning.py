"""Confident learning: cleanlab on out-of-fold probabilities of a linear probe.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, by the authors' own
library: flags from `cleanlab.filter.find_label_issues` (own rule; `filter_by` names one of its rules), p_clean from
`cleanlab.rank.get_label_quality_scores`. Self-confidence, the probe's probability of the given label, is no calibrated
probability that the label is right; the share of labels that cleanlab flags counts the probe's own errors too.
Probabilities: logistic regression on frozen image features, five folds (labelsieve.features.probe).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from labelsieve.data.dataset import Dataset
from labelsieve.features.probe import FOLDS, out_of_fold
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "one pass of the image tower (cached), five linear probes; needs cleanlab"
NEEDS = ()
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings:
    """Defaults are cleanlab's."""

    folds: int = FOLDS
    filter_by: Literal[
        "prune_by_noise_rate",
        "prune_by_class",
        "both",
        "confident_learning",
        "predicted_neq_given",
        "low_normalized_margin",
        "low_self_confidence",
    ] = "prune_by_noise_rate"
    score: Literal[
        "self_confidence", "normalized_margin", "confidence_weighted_entropy"
    ] = "self_confidence"
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, folds=2)


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Hand the probe's answers to cleanlab."""
    probs = out_of_fold(images, encoder, run.seed, folds=settings.folds).astype(
        np.float64
    )
    probs /= probs.sum(1, keepdims=True)
    quality = get_label_quality_scores(images.labels, probs, method=settings.score)
    own = None
    if settings.flags == "own":
        with (
            warnings.catch_warnings()
        ):  # it keeps the last image of a class, and says so
            warnings.simplefilter("ignore", UserWarning)
            own = find_label_issues(
                images.labels, probs, filter_by=settings.filter_by, n_jobs=1
            )
    return judged(
        images,
        run,
        probs,
        -quality,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=quality,
    )
