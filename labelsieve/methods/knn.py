"""Nearest neighbours: a label is suspect where the most similar pictures carry another one.

Vote of the m nearest other pictures in the space of the image tower, c[j] = Σ max(cos, 0) over
neighbours labelled j; score c[given] / Σ c, own rule: another class has more votes. The voting
of SimiFeat (Zhu et al., ICML 2022; here `simifeat`) without augmented views, transition matrix
and a vote of the picture itself, so that the votes do not know the label they judge. Deep k-NN
(Bahri et al., ICML 2020) is the same with a trained network's features. In sets of labels each
neighbour votes for all classes of its set, and the share of the votes is the score of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from labelsieve.data.labels import SET
from labelsieve.estimation.calibration import of_given
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
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "balanced": {"balanced": True}}


@dataclass(frozen=True)
class Settings(Frozen):
    """See the module's docstring."""

    neighbours: Annotated[int, AtLeast(1)] = 50
    weights: Literal["cosine", "equal"] = "cosine"
    # Votes are divided by how often each label is given. Where people take one class too often,
    # its labels outvote others everywhere: NoisyAG-News, rows 0 to 2,999, AUROC .861 -> .882.
    balanced: bool = False


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
    given = of_given(probs, data.labels)
    # equal votes do not speak against a label
    ranking = Ranking(suspicion=-given, own=probs.max(1) > given)
    return from_ranking(task, ranking, settings)
