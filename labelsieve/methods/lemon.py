"""LEMoN: distance to the label's text, and to neighbours that carry other labels or the same one.

Zhang, Balagopalan, Oufattole, Jeong, Wu, Zhu, Ghassemi, "LEMoN: Label Error Detection using
Multimodal Neighbors", ICML 2025 (arXiv 2407.18941), the published fixed setting; authors' code
MLforHealth/LEMoN, commit 56da904. Higher is worse:

    s(x, y) = d(x, y) + β s_n(x, y) + γ s_m(x, y),    d(x, y) = 1 - cos(f(x), g(y))
    s_n = mean over the m nearest pictures j of
          [y ≠ y_j] exp(-τ₁ (1 - cos(x, x_j))) exp(-τ₂ d(x_j, y_j))
    s_m = mean over the other pictures j labelled y of (1 - cos(x, x_j)) exp(-τ₂ d(x_j, y_j))

Differences from the authors' code, which is not reproduced where it errs:
- Weights use the distance; there, the sign of the cosine is turned, so that far neighbours weigh
  more.
- Texts of one class are all the same, so "the nearest texts" are ties: there an index returns the
  same few pictures for every query. Here all other pictures with the label count, in closed form.
- A picture is never its own neighbour; there the first hit is dropped, whatever it is.
- Prompts are the data's template, not "A photo of a".
Own rule, as there: the local minimum of a kernel density of the scores (median of the minima; else
median of the maxima; else the mean). Ours: s is scored for every class, and probabilities are
softmax(-s / (1 + β + γ) / T) with the model's own temperature T: s / (1 + β + γ) is a weighted mean
of distances, and without neighbours these are the zero-shot ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from labelsieve.estimation.calibration import of_given
from labelsieve.features.neighbours import nearest, votes
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, AtLeast

COST = (
    "one pass of the image tower (cached); every pair of images is compared: quadratic, "
    "at most 300,000 images"
)
NEEDS = ("text",)
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}
SAMPLE = 20_000  # scores that the density is estimated from: bounds the time
GRID = 1_000  # points that the density is looked at, as in the authors' code


@dataclass(frozen=True)
class Settings(Frozen):
    """The paper's fixed setting."""

    neighbours: Annotated[int, AtLeast(1)] = 30
    beta: Annotated[float, AtLeast(0)] = 5.0  # weight of neighbours with other labels
    gamma: Annotated[float, AtLeast(0)] = 5.0  # weight of pictures with the same label
    tau_distance: float = 0.1
    tau_doubt: float = 5.0
    # of the probabilities; auto: the model's own
    temperature: Annotated[float | None, Above(0)] = None


def scores(
    features: np.ndarray, cosines: np.ndarray, labels: np.ndarray, settings: Settings
) -> np.ndarray:
    """s(x_i, c) for every picture and class, [n, k] float64.

    Args:
        features: [n, d] of pictures, of length one.
        cosines: [n, k] of pictures and class texts.
        labels: [n] given.
    """
    k = cosines.shape[1]
    distance = 1 - cosines.astype(np.float64)
    trust = np.exp(-settings.tau_doubt * of_given(distance, labels))
    rows, alike = nearest(features, settings.neighbours)
    weights = np.exp(-settings.tau_distance * (1 - alike)) * trust[rows]
    # neighbours with another label are all neighbours without those that have it
    others = weights.sum(1, keepdims=True) - votes(rows, weights, labels, k)
    disagree = others / rows.shape[1]
    same = _same_label(features, labels, trust, k)
    return distance + settings.beta * disagree + settings.gamma * same


def _same_label(
    features: np.ndarray, labels: np.ndarray, trust: np.ndarray, k: int
) -> np.ndarray:
    """s_m [n, k]; where no other picture has the label, the picture's mean over the other classes.

    Σ_j t_j (1 - f·f_j) = Σ_j t_j - f·Σ_j t_j f_j, so one sum per class replaces all pairs.
    """
    n = len(labels)
    total = np.zeros(k)
    centre = np.zeros((k, features.shape[1]))
    np.add.at(total, labels, trust)
    np.add.at(centre, labels, trust[:, None] * features)
    counts = np.tile(np.bincount(labels, minlength=k).astype(float), (n, 1))
    counts[np.arange(n), labels] -= 1
    # a picture's distance to itself is 0 and adds nothing; rounding may leave sums below 0
    distances = (total - features @ centre.T).clip(0)
    means = distances / counts.clip(1)
    alone = counts == 0
    neutral = (means * ~alone).sum(1) / (~alone).sum(1).clip(1)
    return np.where(alone, neutral[:, None], means)


def valley(values: np.ndarray, seed: int) -> float:
    """Where the density of `values` [n] has its local minimum: the label-free threshold."""
    from scipy.signal import argrelmax, argrelmin
    from scipy.stats import gaussian_kde

    # a kernel density of equal values does not exist
    if np.ptp(values) < 1e-12:
        return float(values.mean())
    some = _sample(values, seed)
    grid = np.linspace(values.min(), values.max(), GRID)
    density = gaussian_kde(some)(grid)
    # a density with one peak has no valley; then its peak, and without one the mean
    for find in (argrelmin, argrelmax):
        (extrema,) = find(density)
        if len(extrema):
            return float(np.median(grid[extrema]))
    return float(values.mean())


def _sample(values: np.ndarray, seed: int) -> np.ndarray:
    if len(values) <= SAMPLE:
        return values
    return np.random.default_rng(seed).choice(values, SAMPLE, replace=False)


def detect(task: Task, settings: Settings) -> Evidence:
    """Score each label and every other class, too."""
    task = seen(task, settings)
    labels = task.data.labels
    answer = task.zero_shot(settings.temperature)
    features = np.asarray(task.image_features(), dtype=np.float32)
    every = scores(features, answer.cosines, labels, settings)
    given = of_given(every, labels)
    ranking = Ranking(
        suspicion=given,
        own=given > valley(given, task.seed),
        columns={"lemon_score": given},
        facts=answer.facts(),
    )
    return from_ranking(task, ranking, settings)
