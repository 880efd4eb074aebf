"""SimiFeat: neighbours vote, or rank with the share of wrong labels that a transition matrix from neighbours tells.

Zhu, Dong, Liu, "Detecting Corrupted Labels Without Training a Model to Predict", ICML 2022, with HOC (Zhu, Song, Liu,
"Clusterability as an Alternative to Anchor Points When Learning with Noisy Labels", ICML 2021); authors' code
UCSC-REAL/SimiFeat. In each of several augmented views (random crop and mirror), with the m nearest neighbours by cosine,
the picture itself among them at the distance 2 d₁ - d₂ of its first two:

    c[j] = Σ (1 - d) over neighbours labelled j,    s = c / ‖c‖₂
    vote: wrong <=> argmax s is not the given label y
    rank: in each class j the share 1 - P(true j | given j) with the largest -log s[y] is wrong,
          P(true j | given j) = T[j, j] p[j] / P(given j)

T (true -> given) and p (true frequencies) explain how often a picture and its two nearest neighbours carry which labels,
under the assumption that all three share the true one (HOC). A label is right if it was in at least half of the views.

Differences from the authors' code: 5 views instead of 21 (preset `paper`); shares are cut to [0, 1] (there at least 5 % of
each class are always flagged) and no random number is added to T; p_clean is the mean of s[y] over views; class
probabilities are the votes of the other pictures alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from labelsieve.data.dataset import Dataset
from labelsieve.errors import DataError
from labelsieve.features.cached import View, image_features
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder

COST = "a pass of the image tower for each view (cached); quadratic in images (at most 300,000), and k³ memory, k⁴ time in k classes (at most 200)"
NEEDS = ("pixels",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"views": 21}}
MOST_CLASSES = 200  # the tensor of label triples has k³ cells
DRAWN, ROUNDS = 15_000, 10  # pictures whose triples are counted, and how often
STEPS = ((400, 0.1), (20, 0.01))  # of Adam: in the first view, in later ones


@dataclass(frozen=True)
class Settings:
    """See the module's docstring."""

    neighbours: int = 10  # the picture itself among them
    views: int = 5
    rule: Literal["rank", "vote", "both"] = "rank"
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, neighbours=2, views=1)


@dataclass(frozen=True)
class Triples:
    """How often a label [k], a label and its neighbour's [k, k], and two neighbours' [k, k, k] occur; each sums to one."""

    one: Tensor
    two: Tensor
    three: Tensor


def count_triples(
    labels: np.ndarray, rows: np.ndarray, classes: int, rng: np.random.Generator
) -> Triples:
    """Labels of pictures and of their two nearest neighbours (the first two columns of `rows`), over several draws."""
    counts = np.zeros(classes**3)
    for _ in range(ROUNDS if len(labels) > DRAWN else 1):
        some = rng.choice(len(labels), min(DRAWN, len(labels)), replace=False)
        cells = (labels[some] * classes + labels[rows[some, 0]]) * classes + labels[
            rows[some, 1]
        ]
        counts += np.bincount(cells, minlength=classes**3)
    three = (
        torch.from_numpy(counts / counts.sum())
        .float()
        .reshape(classes, classes, classes)
    )
    return Triples(three.sum((1, 2)), three.sum(2), three)


def expected_triples(transition: Tensor, prior: Tensor) -> Triples:
    """What T [k, k] (true -> given) and p [k] predict when the three share the true class."""
    pairs = (
        prior[:, None, None] * transition[:, :, None] * transition[:, None, :]
    ).flatten(1)  # [i, a b]
    three = (pairs.T @ transition).reshape(len(prior), len(prior), len(prior))
    return Triples(prior @ transition, pairs.sum(0).reshape(len(prior), -1), three)


class Hoc:
    """T and p as logits, kept from view to view."""

    def __init__(self, classes: int) -> None:
        self.transition = (5 * torch.eye(classes) - 1).requires_grad_()
        self.prior = torch.zeros(classes, requires_grad=True)
        self.fitted = False

    def fit(self, seen: Triples) -> tuple[np.ndarray, np.ndarray]:
        """T and p whose expected counts are nearest to those seen (sum of the three norms)."""
        steps, lr = STEPS[int(self.fitted)]
        self.fitted = True
        optimizer = torch.optim.Adam([self.transition, self.prior], lr=lr)
        best, found = np.inf, (self.transition.softmax(1), self.prior.softmax(0))
        for step in range(steps):
            transition, prior = self.transition.softmax(1), self.prior.softmax(0)
            expected = expected_triples(transition, prior)
            loss = sum(
                (getattr(seen, n) - getattr(expected, n)).norm()
                for n in ("one", "two", "three")
            )
            if step >= 5 and float(loss.detach()) < best:
                best, found = float(loss.detach()), (transition, prior)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return found[0].detach().double().numpy(), found[1].detach().double().numpy()


def similarity(
    rows: np.ndarray, cosines: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """The s [n, k], rows of length one; `rows` [n, m - 1] and `cosines` are of the others, nearest first."""
    counts = votes(rows, cosines.clip(0), labels, classes)
    second = cosines[:, 1] if cosines.shape[1] > 1 else cosines[:, 0]
    counts[np.arange(len(labels)), labels] += (2 * cosines[:, 0] - second).clip(
        0
    )  # 1 - (2 d₁ - d₂)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-12)


def rank_flags(
    given: np.ndarray, labels: np.ndarray, transition: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """[n] bool: in each class the share that T and p call wrong, lowest s[y] = `given` [n] first."""
    flagged = np.zeros(len(labels), dtype=bool)
    frequencies = np.bincount(labels, minlength=len(prior)) / len(labels)
    right = np.diag(transition) * prior / frequencies.clip(1e-12)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        wrong = round((1 - min(right[label], 1.0)) * len(own))
        flagged[own[np.argsort(given[own], kind="stable")[:wrong]]] = True
    return flagged


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Look at every picture several times and at its neighbours each time."""
    n, k, each = len(images), len(images.classes), np.arange(len(images))
    if k > MOST_CLASSES:
        raise DataError(
            f"simifeat counts triples of labels: {k}³ of them are too many; the limit is {MOST_CLASSES} classes.",
            "Take --method knn, which votes without a transition matrix.",
        )
    if n < 3:
        raise DataError(
            f"simifeat needs two neighbours for each image; there are {n} images.",
            "Take another method.",
        )
    hoc, rng = Hoc(k), np.random.default_rng(run.seed)
    given, clean, blind = np.zeros(n), np.zeros(n), np.zeros((n, k))
    for number in range(settings.views):
        rows, cosines = nearest(
            image_features(images, encoder, View(run.seed, number)),
            max(2, settings.neighbours - 1),
        )
        s = similarity(rows, cosines, images.labels, k)
        transition, prior = hoc.fit(count_triples(images.labels, rows, k, rng))
        vote = s.max(1) > s[each, images.labels]
        rank = rank_flags(s[each, images.labels], images.labels, transition, prior)
        given += s[each, images.labels] / settings.views
        clean += (
            1
            - {"vote": vote, "rank": rank, "both": (vote + rank.astype(float)) / 2}[
                settings.rule
            ]
        )
        blind += votes(rows, cosines.clip(1e-6), images.labels, k)
    own = clean / settings.views < 0.5 if settings.flags == "own" else None
    rate = float(1 - prior @ np.diag(transition))
    return judged(
        images,
        run,
        blind / blind.sum(1, keepdims=True),
        -given,
        noise_rate=settings.noise_rate,
        own=own,
        p_clean=given,
        facts={"hoc_noise_rate": rate},
    )
