"""Confident learning: cleanlab on out-of-fold probabilities of a linear probe.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
2021, by the authors' own library: flags from `cleanlab.filter.find_label_issues` (own rule;
`filter_by` names one of its rules), ranking by `cleanlab.rank.get_label_quality_scores`.
Self-confidence, the probe's probability of the given label, is no calibrated probability that the
label is right; the share of labels that cleanlab flags counts the probe's own errors too.
Probabilities: logistic regression on frozen image features, five folds (labelsieve.features.probe).

Of sets of labels each class has a probe of its own, whose answer is its score; with flags=own
`cleanlab.multilabel_classification.filter` says which labels are wrong (Thyagarajan et al.,
"Identifying Incorrect Annotations in Multi-Label Classification Data", 2022).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from labelsieve.data.labels import SET
from labelsieve.estimation.calibration import logit
from labelsieve.features.probe import FOLDS
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.methods._sets import ClassScores, from_scores
from labelsieve.settings import AtLeast

COST = "one pass of the image tower (cached), five linear probes; needs cleanlab"
NEEDS = ()
JUDGES = ("single", "set")
PRESETS: dict[str, dict[str, Any]] = {"default": {}}


@dataclass(frozen=True)
class Settings(Frozen):
    """Defaults are cleanlab's."""

    folds: Annotated[int, AtLeast(2)] = FOLDS
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


def detect(task: Task, settings: Settings) -> Evidence:
    """Hand the probe's answers to cleanlab."""
    task = seen(task, settings)
    if task.data.coding.kind == SET:
        return from_scores(task, _of_sets(task, settings), settings)
    labels = task.data.labels
    probs = task.out_of_fold(folds=settings.folds).astype(np.float64)
    # cleanlab checks that rows sum to one more closely than float32 does
    probs /= probs.sum(1, keepdims=True)
    quality = get_label_quality_scores(labels, probs, method=settings.score)
    own = None
    if settings.flags == "own":
        own = _issues(labels, probs, settings.filter_by)
    # its own rule cannot be told how many labels are wrong; the score can be cut anywhere
    ranking = Ranking(suspicion=-quality, own=own)
    return from_ranking(task, ranking, settings)


def _issues(labels: np.ndarray, probs: np.ndarray, rule: str) -> np.ndarray:
    """[n] bool: what cleanlab calls wrong."""
    with warnings.catch_warnings():
        # it keeps the last image of a class, and warns about it
        warnings.simplefilter("ignore", UserWarning)
        # one process: starting others takes longer than the work
        return find_label_issues(labels, probs, filter_by=rule, n_jobs=1)


def _of_sets(task: Task, settings: Settings) -> ClassScores:
    """The probes' answers, and what cleanlab makes of them."""
    probs = task.out_of_fold(folds=settings.folds).astype(np.float64)
    own = None
    if settings.flags == "own":
        own = _set_issues(task.data.labels, probs, settings.filter_by)
    return ClassScores(logit(probs, 1e-6), own)


def _set_issues(given: np.ndarray, probs: np.ndarray, rule: str) -> np.ndarray:
    """[n, k] bool: what cleanlab calls missing or extra."""
    from cleanlab.multilabel_classification.filter import (
        find_multilabel_issues_per_class,
    )

    labels = [np.flatnonzero(row).tolist() for row in given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = find_multilabel_issues_per_class(
            labels, probs, filter_by=rule, n_jobs=1
        )
    return np.asarray(found, dtype=bool)
