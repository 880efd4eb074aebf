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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelsieve.data.labels import SET
from labelsieve.estimation import flagging
from labelsieve.estimation.calibration import Curve, of_given, reweigh, with_given
from labelsieve.features.neighbours import CELLS, nearest, set_votes, votes
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
# Images that are kept to vote on others (`labelsieve score`): 100 MB of 512 numbers each.
KEPT = 50_000
ITSELF = 1 - 1e-5  # cosine above which a known image is the very one that is judged
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
    # a class without labels has no votes either
    frequency = np.bincount(data.labels, minlength=len(data.classes)).clip(1)
    counts = votes(rows, weights, data.labels, len(data.classes))
    shown = what_is_shown(counts, frequency, settings)
    probs, matrix = shown, np.eye(len(data.classes))
    if settings.bayes:
        probs, matrix = under_transition(shown, data.labels)
    # equal votes do not speak against a label
    own = shown.max(1) > of_given(shown, data.labels)
    ranking = Ranking(suspicion=-of_given(probs, data.labels), own=own)
    evidence = from_ranking(task, ranking, settings)
    if settings.bayes:
        # the votes know better than the reference classifier what else it may be: of suggestions
        # on NoisyAG-News, rows 0 to 2,999, more are right (benchmarks/bench_text.py)
        evidence = _by_votes(evidence, probs, data.labels)
    return replace(evidence, learned=_learned(task, evidence, frequency, matrix))


def _by_votes(evidence: Evidence, probs: np.ndarray, labels: np.ndarray) -> Evidence:
    """The same judgement, with other classes as likely as the votes [n, k] say."""
    probs = with_given(probs.astype(np.float32), labels, evidence.p_clean)
    suggested = flagging.suggestions(probs, labels, evidence.flagged)
    return replace(evidence, probs=probs, suggested=suggested)


def _learned(
    task: Task, evidence: Evidence, frequency: np.ndarray, matrix: np.ndarray
) -> dict[str, Tensor] | None:
    """Who votes on others, and what a score means; None where too many would be kept."""
    if len(task.data) > KEPT:
        return None
    score = evidence.columns["score"]
    # what a score means is rising, and ends of steps are enough
    order = np.argsort(score)
    curve = Curve(score[order], evidence.p_clean[order]).thinned()
    flagged = evidence.p_clean[evidence.flagged]
    return {
        "features": torch.from_numpy(np.array(task.image_features(), np.float32)),
        "labels": torch.from_numpy(task.data.labels),
        "frequency": torch.from_numpy(frequency),
        "matrix": torch.from_numpy(matrix),
        "scores": torch.from_numpy(curve.scores),
        "values": torch.from_numpy(curve.values),
        "flags": torch.tensor(flagged.max() if len(flagged) else -1.0),
    }


def judge(task: Task, settings: Settings, learned: Mapping[str, Tensor]) -> Evidence:
    """Labels of other images, on which those of the run vote."""
    task = seen(task, settings)
    given, k = task.data.labels, len(task.data.classes)
    x = np.asarray(task.image_features(), dtype=np.float32)
    rows, cosines = nearest_of(x, learned["features"].numpy(), settings.neighbours)
    weights = cosines.clip(1e-6)
    if settings.weights == "equal":
        weights = (cosines > -1).astype(np.float32)
    counts = votes(rows, weights, learned["labels"].numpy(), k)
    shown = what_is_shown(counts, learned["frequency"].numpy(), settings)
    matrix = learned["matrix"].numpy()
    probs = reweigh(shown, matrix[given]) if settings.bayes else shown
    score = of_given(probs, given).astype(np.float64)
    curve = Curve(learned["scores"].numpy(), learned["values"].numpy())
    p_clean = curve(score)
    flagged = p_clean <= float(learned["flags"])
    probs = with_given(probs.astype(np.float32), given, p_clean)
    suggested = flagging.suggestions(probs, given, flagged)
    columns = {"score": score}
    return Evidence(p_clean, flagged, suggested, probs, columns, posterior=True)


def nearest_of(
    x: np.ndarray, known: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, m] of the m nearest known images and their cosines; itself has no say.

    Args:
        x: [n, d], of length one. known: [r, d] likewise.
    """
    rows, values = [], []
    others = torch.from_numpy(known)
    # one more than wanted, since an image of the run would meet itself
    wanted = min(count + 1, len(known))
    for part in torch.from_numpy(np.array(x)).split(max(1, CELLS // len(known))):
        top = (part @ others.T).topk(wanted)
        own = top.values[:, :1] > ITSELF
        # the nearest is left out where it is the image itself, else the last
        keep = torch.where(own, 1, 0) + torch.arange(max(1, wanted - 1))
        rows.append(top.indices.gather(1, keep.clamp(max=wanted - 1)).numpy())
        values.append(top.values.gather(1, keep.clamp(max=wanted - 1)).numpy())
    return np.concatenate(rows), np.concatenate(values)


def what_is_shown(
    counts: np.ndarray, frequency: np.ndarray, settings: Settings
) -> np.ndarray:
    """[n, k] probability of each class, given the votes [n, k] of others.

    Args:
        frequency: [k] how often each label is given.
    """
    shares: np.ndarray = counts / counts.sum(1, keepdims=True)
    if settings.balanced:
        return reweigh(shares, 1 / frequency)
    if not settings.bayes:
        return shares
    # squared, as fifty neighbours blur what a picture shows; their frequency counts once
    return reweigh(shares**2, 1 / frequency)


def under_transition(
    shown: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[n, k] probability of each class, given the own label, too, and T as [given, true].

    Args:
        shown: [n, k] of `what_is_shown`.
    """
    posterior, matrix = shown, np.eye(shown.shape[1])
    for _ in range(ROUNDS):
        # [given, true]; a trifle everywhere, so that what was never seen is not ruled out
        counts = np.full((shown.shape[1],) * 2, SELDOM)
        np.add.at(counts, labels, posterior)
        matrix = counts / counts.sum(0)
        posterior = reweigh(shown, matrix[labels])
    return posterior, matrix
