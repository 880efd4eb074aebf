"""Memory: regions of pictures that look alike, and how their labels are shared.

After Zhu, Zheng, Zheng, Lyu, Luo, "Learning to Aggregate and Refine Noisy Labels for Visual
Sentiment Analysis", ICPR 2022 (arXiv 2109.07509), of which only the abstract could be read: a
memory of prototypes, each with its own label, both updated online, that filters labels and gives
refined ones. The equations are ours, on features of the frozen tower:

    write   j* = argmax_j z·m_j;  m_j* <- a m_j* + (1 - a) z;  label counts n_j*[y] + 1
    read    w_j = softmax_j(z·m_j / τ);  r = Σ_j w_j l_j,  l_j = (n_j + a0 π) / (Σ n_j + a0)
    filter  c = r[given] / max r, keep where c > θ

Regions are visual: labels have no part in the assignment. A picture's own label is taken out of
its region before it is read, as it would vouch for itself. Prototypes that took no picture in a
pass are planted again where the memory covers least. The order of rows decides nothing: a pass
writes all pictures at once, with what is left of a prototype that many single writes would leave.

Label distributions are soft labels of regions (`probs`), for labels that have no single truth, such
as sentiment; column `region` names each picture's region, for a review of one region together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from labelsieve.estimation.calibration import of_given
from labelsieve.features.task import Task
from labelsieve.features.zero_shot import softmax
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import Above, AtLeast, Below, Share

COST = "one pass of the image tower (cached), and seconds: n x regions cosines a pass"
NEEDS = ()
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}}
AT_ONCE = 4_096  # rows x regions that are held: with 8,000 regions 130 MB


@dataclass(frozen=True)
class Settings(Frozen):
    """Chosen on planted clusters, see the documentation; the paper's are not known."""

    per_class: Annotated[int, AtLeast(1)] = (
        8  # regions; at least as many as looks of a class
    )
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.95  # of one write
    passes: Annotated[int, AtLeast(1)] = 4
    temperature: Annotated[float, Above(0)] = 0.1
    prior: Annotated[float, AtLeast(0)] = 1.0  # a0, votes of the class frequencies
    keep: Annotated[float, Share()] = 0.5  # θ


@dataclass(frozen=True)
class Memory:
    """M regions: prototypes [M, d] of length one, and label counts [M, k]."""

    prototypes: np.ndarray
    counts: np.ndarray

    def labels(self, frequencies: np.ndarray, prior: float) -> np.ndarray:
        """Label distributions [M, k]; `prior` votes of the frequencies [k] go to each."""
        votes = self.counts + prior * frequencies
        # a region without votes says what is said of all
        total = votes.sum(1, keepdims=True)
        return np.where(total > 0, votes / np.maximum(total, 1e-12), frequencies)


def learn(
    features: np.ndarray, labels: np.ndarray, k: int, settings: Settings, seed: int
) -> Memory:
    """Fill the memory, a few passes through the data."""
    n = len(features)
    # no more regions than pictures to begin them with
    size = min(n, settings.per_class * k)
    generator = np.random.default_rng(seed)
    prototypes = features[np.sort(generator.choice(n, size, replace=False))]
    for _ in range(settings.passes):
        region, covered = assign(features, prototypes)
        prototypes = _written(prototypes, features, region, settings.momentum)
        # where the memory covers least, as often as a prototype has nothing to do
        idle = np.flatnonzero(np.bincount(region, minlength=size) == 0)
        lonely = np.argsort(covered, kind="stable")[: len(idle)]
        prototypes[idle] = features[lonely]
    # labels are counted once, in the regions as they are in the end
    region, _ = assign(features, prototypes)
    counts = np.zeros((size, k))
    np.add.at(counts, (region, labels), 1)
    return Memory(prototypes, counts)


def assign(
    features: np.ndarray, prototypes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Region [n] of each picture, and its cosine [n] with the region's prototype."""
    regions, cosines = [], []
    for start in range(0, len(features), AT_ONCE):
        found = features[start : start + AT_ONCE] @ prototypes.T
        regions.append(found.argmax(1))
        cosines.append(found.max(1))
    return np.concatenate(regions), np.concatenate(cosines)


def _written(
    prototypes: np.ndarray, features: np.ndarray, region: np.ndarray, momentum: float
) -> np.ndarray:
    total = np.zeros_like(prototypes)
    np.add.at(total, region, features)
    # as a column: each prototype is scaled by its own
    counts = np.bincount(region, minlength=len(prototypes))[:, None]
    # so much of a prototype is left after as many writes
    left = momentum**counts
    moved = left * prototypes + (1 - left) * total / np.maximum(counts, 1)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    written: np.ndarray = (moved / np.maximum(length, 1e-12)).astype(np.float32)
    return written


def read(
    memory: Memory, features: np.ndarray, labels: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Soft labels r [n, k] that do not know the own label, and the region [n] of each picture."""
    k = memory.counts.shape[1]
    frequencies = np.bincount(labels, minlength=k) / len(labels)
    soft = memory.labels(frequencies, settings.prior)
    region, _ = assign(features, memory.prototypes)
    refined = np.empty((len(features), k))
    for start in range(0, len(features), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        weights = softmax(features[part] @ memory.prototypes.T / settings.temperature)
        own = region[part]
        # the own vote is taken out of the own region, and of no other
        without = memory.counts[own].copy()
        rows = np.arange(len(own))
        without[rows, labels[part]] -= 1
        alone = Memory(memory.prototypes, without).labels(frequencies, settings.prior)
        # first as if every vote counted, then less what the own one adds
        refined[part] = weights @ soft
        refined[part] += weights[rows, own][:, None] * (alone - soft[own])
    return refined, region


def detect(task: Task, settings: Settings) -> Evidence:
    """Let the memory say how likely each label is where its picture lies."""
    task = seen(task, settings)
    labels, k = task.data.labels, len(task.data.classes)
    features = np.asarray(task.image_features(), dtype=np.float32)
    memory = learn(features, labels, k, settings, task.seed)
    refined, region = read(memory, features, labels, settings)
    # a ratio: the labels of a rare class are not suspicious for being rare
    agreed = of_given(refined, labels) / refined.max(1)
    ranking = Ranking(
        suspicion=-agreed,
        own=agreed <= settings.keep,
        columns={"region": region, "region_agreement": refined.max(1)},
        facts={"regions": len(memory.prototypes)},
    )
    return from_ranking(task, ranking, settings)
