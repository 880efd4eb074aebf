"""Nearest neighbours: a label is suspect where the most similar pictures carry another one.

Vote of the m nearest other pictures in the space of the image tower, c[j] = Σ max(cos, 0) over
neighbours labelled j; score c[given] / Σ c, own rule: another class has more votes. The voting
of SimiFeat (Zhu et al., ICML 2022; here `simifeat`) without augmented views, transition matrix
and a vote of the picture itself, so that the votes do not know the label they judge. Deep k-NN
(Bahri et al., ICML 2020) is the same with a trained network's features. In sets of labels each
neighbour votes for all classes of its set, and the share of the votes is the score of a class.

Preset `bayes` is ours. Votes say what a picture shows, and that people take one class for another
more often than others: p(k) is proportional to c[k]² / f[k], f the share of labels k, a matrix T of
how labels arise from classes is counted from p and all labels, and the score is the posterior,
p(given) T[given, given] / Σ_k p(k) T[k, given]. With it T is counted again, three times in all:
expectation maximisation, ended before T explains what the votes get wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.data.labels import SET
from labelsieve.estimation.calibration import of_given, reweigh
from labelsieve.features.neighbours import nearest, set_votes, votes
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.methods._sets import ClassScores, from_scores
from labelsieve.settings import AtLeast

COST = (
    "one pass of the image tower (cached); every pair of images is compared: quadratic, "
    "at most 300,000 images"
)
NEEDS = ()
JUDGES = ("single", "set")
# Of counting T: more of them explain the errors of the votes, too, with weak features above all.
ROUNDS = 3
SELDOM = 1e-3  # labels
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "balanced": {"balanced": True},
    "bayes": {"bayes": True},
}


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    neighbours: Annotated[int, AtLeast(1)] = 50
    weights: Literal["cosine", "equal"] = "cosine"
    # Votes are divided by how often each label is given. Where people take one class too often,
    # its labels outvote others everywhere: NoisyAG-News, rows 0 to 2,999, AUROC .861 -> .882.
    balanced: bool = False
    # The score is the posterior under the votes and T. Chosen on the same rows (AUROC .893) and on
    # classes of unequal sizes cut from them, where `balanced` is below plain votes.
    bayes: bool = False


def detect(task: Task, settings: Settings) -> Evidence:
    """Let the neighbours vote on each label."""
    task = seen(task, settings)
    data = task.data
    rows, cosines = nearest(task.image_features(), settings.neighbours)
    # above 0, so that the votes never sum to 0
    weights = cosines.clip(1e-6)
    if settings.weights == "equal":
        weights = np.ones_like(cosines)
    if data.coding.kind == SET:
        of_sets = set_votes(rows, weights, data.labels)
        # logits of votes with half a vote of either kind more, so that all are finite
        total = weights.sum(1, keepdims=True)
        values = np.log(of_sets + 0.5) - np.log(total - of_sets + 0.5)
        return from_scores(task, ClassScores(values), settings)
    counts = votes(rows, weights, data.labels, len(data.classes))
    if settings.balanced:
        # a class without labels has no votes either
        counts = counts / np.bincount(data.labels, minlength=counts.shape[1]).clip(1)
    probs = counts / counts.sum(1, keepdims=True)
    own = probs.max(1) > of_given(probs, data.labels)
    if settings.bayes:
        shown = what_is_shown(probs, data.labels)
        own = shown.max(1) > of_given(shown, data.labels)
        probs = under_transition(shown, data.labels)
    # equal votes do not speak against a label
    ranking = Ranking(suspicion=-of_given(probs, data.labels), own=own)
    return from_ranking(task, ranking, settings)


def what_is_shown(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, k] probability of each class, given the votes of others.

    Args:
        votes: [n, k] their shares, rows sum to one.
    """
    # a class without labels has no votes either
    frequency = np.bincount(labels, minlength=votes.shape[1]).clip(1)
    # squared, as fifty neighbours blur what a picture shows; their frequency counts once
    return reweigh(votes**2, 1 / frequency)


def under_transition(shown: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n, k] probability of each class, given the own label, too.

    Args:
        shown: [n, k] of `what_is_shown`.
    """
    posterior = shown
    for _ in range(ROUNDS):
        # [given, true]; a trifle everywhere, so that what was never seen is not ruled out
        counts = np.full((shown.shape[1],) * 2, SELDOM)
        np.add.at(counts, labels, posterior)
        matrix = counts / counts.sum(0)
        posterior = reweigh(shown, matrix[labels])
    return posterior
