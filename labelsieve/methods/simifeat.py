"""SimiFeat: neighbours vote, or rank with the share of wrong labels that they reveal.

Zhu, Dong, Liu, "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022, with
HOC (Zhu, Song, Liu, "Clusterability as an Alternative to Anchor Points When Learning with Noisy
Labels", ICML 2021); authors' code UCSC-REAL/SimiFeat. In each of several augmented views (random
crop and mirror), with the m nearest neighbours by cosine, the picture itself among them at the
distance 2 d₁ - d₂ of its first two:

    c[j] = Σ (1 - d) over neighbours labelled j,    s = c / ‖c‖₂
    vote: wrong <=> argmax s is not the given label y
    rank: in each class j the share 1 - P(true j | given j) with the largest -log s[y] is wrong,
          P(true j | given j) = T[j, j] p[j] / P(given j)

T (true -> given) and p (true frequencies) explain how often a picture and its two nearest
neighbours carry which labels, under the assumption that all three share the true one (HOC). A
label is right if it was in at least half of the views.

Differences from the authors' code: 5 views instead of 21 (preset `paper`); shares are cut to [0, 1]
(there at least 5 % of each class are always flagged) and no random number is added to T; labels
are ranked by the mean of s[y] over views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelsieve.errors import DataError
from labelsieve.estimation.calibration import of_given
from labelsieve.features.cached import View
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import OwnRule, Ranking, from_ranking
from labelsieve.settings import AtLeast

COST = (
    "a pass of the image tower for each view (cached); quadratic in images (at most 300,000), "
    "and k³ memory, k⁴ time in k classes (at most 200)"
)
NEEDS = ("pixels",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"views": 21}}
MOST_CLASSES = 200  # the tensor of label triples has k³ cells
DRAWN = 15_000  # pictures whose triples are counted at a time, as in the authors' code
ROUNDS = 10  # how often
STEPS = (
    (400, 0.1),
    (20, 0.01),
)  # of Adam: number and size in the first view, in later ones


@dataclass(frozen=True)
class Settings(OwnRule):
    """See the module's docstring."""

    neighbours: Annotated[int, AtLeast(2)] = 10  # the picture itself among them
    views: Annotated[int, AtLeast(1)] = 5
    rule: Literal["rank", "vote", "both"] = "rank"


@dataclass(frozen=True)
class Triples:
    """How often labels occur together; each of the three sums to one.

    one: [k] a label. two: [k, k] a label and that of its neighbour. three: [k, k, k] and that of
    another neighbour.
    """

    one: Tensor
    two: Tensor
    three: Tensor


def count_triples(
    labels: np.ndarray, rows: np.ndarray, classes: int, rng: np.random.Generator
) -> Triples:
    """Labels of pictures and of their two nearest neighbours, the first two columns of `rows`."""
    counts = np.zeros(classes**3)
    for _ in range(ROUNDS if len(labels) > DRAWN else 1):
        some = rng.choice(len(labels), min(DRAWN, len(labels)), replace=False)
        first, second = labels[rows[some, 0]], labels[rows[some, 1]]
        cells = (labels[some] * classes + first) * classes + second
        counts += np.bincount(cells, minlength=classes**3)
    shares = torch.from_numpy(counts / counts.sum()).float()
    three = shares.reshape(classes, classes, classes)
    return Triples(three.sum((1, 2)), three.sum(2), three)


def expected_triples(transition: Tensor, prior: Tensor) -> Triples:
    """What T [k, k] (true -> given) and p [k] predict when the three share the true class."""
    pairs = prior[:, None, None] * transition[:, :, None] * transition[:, None, :]
    pairs = pairs.flatten(1)  # [true class, label · k + label of the neighbour]
    three = (pairs.T @ transition).reshape(len(prior), len(prior), len(prior))
    return Triples(prior @ transition, pairs.sum(0).reshape(len(prior), -1), three)


class Hoc:
    """T and p as logits, kept from view to view: later ones start where the last one ended."""

    def __init__(self, classes: int) -> None:
        # a softmax over this says that most labels are right, as in the authors' code
        self.transition = (5 * torch.eye(classes) - 1).requires_grad_()
        self.prior = torch.zeros(classes, requires_grad=True)
        self.fitted = False

    def fit(self, seen: Triples) -> tuple[np.ndarray, np.ndarray]:
        """T [k, k] and p [k] whose expected counts are nearest to those seen (sum of norms)."""
        steps, lr = STEPS[int(self.fitted)]
        self.fitted = True
        optimizer = torch.optim.Adam([self.transition, self.prior], lr=lr)
        least = np.inf
        best = self.transition.softmax(1), self.prior.softmax(0)
        for step in range(steps):
            transition, prior = self.transition.softmax(1), self.prior.softmax(0)
            expected = expected_triples(transition, prior)
            loss = _distance(seen, expected)
            # the first steps of Adam jump about
            if step >= 5 and float(loss.detach()) < least:
                least = float(loss.detach())
                best = transition, prior
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return best[0].detach().double().numpy(), best[1].detach().double().numpy()


def _distance(a: Triples, b: Triples) -> Tensor:
    """Sum of the three norms, as in the authors' code."""
    return (a.one - b.one).norm() + (a.two - b.two).norm() + (a.three - b.three).norm()


def similarity(
    rows: np.ndarray, cosines: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """The s [n, k], rows of length one.

    Args:
        rows, cosines: [n, m - 1], of the other pictures, nearest first.
    """
    counts = votes(rows, cosines.clip(0), labels, classes)
    # with two images there is one other: its distance counts twice
    second = cosines[:, min(1, cosines.shape[1] - 1)]
    # of the picture itself: 1 - (2 d₁ - d₂), in cosines
    itself = (2 * cosines[:, 0] - second).clip(0)
    counts[np.arange(len(labels)), labels] += itself
    return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-12)


def rank_flags(
    given: np.ndarray, labels: np.ndarray, transition: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """[n] bool: in each class the share that T and p call wrong, lowest `given` s[y] first."""
    flagged = np.zeros(len(labels), dtype=bool)
    frequencies = np.bincount(labels, minlength=len(prior)) / len(labels)
    # P(true j | given j) by Bayes' rule
    right = np.diag(transition) * prior / frequencies.clip(1e-12)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        wrong = round((1 - min(right[label], 1.0)) * len(own))
        flagged[own[np.argsort(given[own], kind="stable")[:wrong]]] = True
    return flagged


def detect(task: Task, settings: Settings) -> Evidence:
    """Look at every picture several times and at its neighbours each time."""
    n, k = len(task.data), len(task.data.classes)
    _check(n, k)
    hoc = Hoc(k)
    # one stream for all views: each draws other pictures to count
    rng = np.random.default_rng(task.seed)
    given = np.zeros(n)
    clean = np.zeros(n)
    for number in range(settings.views):
        look = _look(task, settings, number, hoc, rng)
        given += look.given / settings.views
        clean += 1 - look.wrong
    ranking = Ranking(
        suspicion=-given,
        own=clean / settings.views < 0.5,
        facts={
            "hoc_noise_rate": look.noise_rate
        },  # of the last view, which all have taught
    )
    return from_ranking(task, ranking, settings)


@dataclass(frozen=True)
class _Look:
    """What one view says of n labels.

    given: [n] s[y]. wrong: [n] from 0 to 1.
    noise_rate: share of wrong labels by T and p.
    """

    given: np.ndarray
    wrong: np.ndarray
    noise_rate: float


def _look(
    task: Task, settings: Settings, number: int, hoc: Hoc, rng: np.random.Generator
) -> _Look:
    labels, k = task.data.labels, len(task.data.classes)
    features = task.image_features(View(task.seed, number))
    # two neighbours at least: HOC counts triples
    rows, cosines = nearest(features, max(2, settings.neighbours - 1))
    s = similarity(rows, cosines, labels, k)
    given = of_given(s, labels)
    transition, prior = hoc.fit(count_triples(labels, rows, k, rng))
    vote = s.max(1) > given
    rank = rank_flags(given, labels, transition, prior)
    wrong = {"vote": vote, "rank": rank, "both": (vote + rank.astype(float)) / 2}
    rate = float(1 - prior @ np.diag(transition))
    return _Look(given, wrong[settings.rule], rate)


def _check(n: int, k: int) -> None:
    if k > MOST_CLASSES:
        raise DataError(
            f"simifeat counts triples of labels: {k}³ of them are too many; "
            f"the limit is {MOST_CLASSES} classes.",
            "Take --method knn, which votes without a transition matrix.",
        )
    if n < 3:
        raise DataError(
            f"simifeat needs two neighbours for each image; there are {n} images.",
            "Take another method.",
        )
