"""AUM: labels whose logit does not lead while a linear probe is trained are suspect.

Pleiss, Zhang, Elenberg, Weinberger, "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020;
authors' code asappresearch/aum. Margin of an image in one epoch = logit of the given label minus the largest other one,
while the weights move; AUM = mean over the epochs without the first. Threshold samples: n // (k + 1) random images get a
class k + 1 that does not exist, so their AUM is that of wrong labels; own rule: AUM below their 99th percentile. Two runs
with disjoint threshold samples, so that every image is once trained with its own label.

Differences from the paper: a linear probe on frozen features is trained instead of a network (features centred and of
length one on average, which the paper's step size needs); 30 epochs instead of 150 (preset `paper`); since margins compare
only within a run, what is averaged over runs is the distance to the run's percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.dataset import Dataset
from labelsieve.features.cached import image_features
from labelsieve.features.probe import out_of_fold, standardise
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged, need
from labelsieve.models.encoder import DualEncoder
from labelsieve.training import losses
from labelsieve.training.loop import Batch, Recipe, fit

COST = "one pass of the image tower (cached), two trainings of a linear layer, five linear probes"
NEEDS = ()
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"epochs": 150}}
PERCENTILE = 0.99  # of the threshold samples


@dataclass(frozen=True)
class Settings:
    """Optimiser: the paper's first stage (no drops of the learning rate)."""

    epochs: int = 30
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    flags: Literal["own", "estimated"] = "own"
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        need(self, epochs=2, batch_size=1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """[b, c], [b] -> [b]: the logit of the label minus the largest other one."""
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return logits.gather(1, labels[:, None])[:, 0] - others.max(1).values


def threshold_samples(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of n // (k + 1) rows."""
    size = max(1, n // (classes + 1))
    order = np.random.default_rng([seed, n]).permutation(n)
    return order[:size], order[size : 2 * size]


def areas(
    inputs: np.ndarray,
    labels: np.ndarray,
    classes: int,
    settings: Settings,
    run: Workplace,
    name: str,
) -> np.ndarray:
    """AUM [n] of training a linear layer with `classes` outputs on inputs [n, d]."""
    d = inputs.shape[1]
    weight, bias = (
        nn.Parameter(torch.zeros(classes, d)),
        nn.Parameter(torch.zeros(classes)),
    )
    total = torch.zeros(len(labels), dtype=torch.float64)
    given = torch.from_numpy(labels)

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        logits, own = loaded @ weight.T + bias, given[batch.rows]
        if batch.epoch:
            total[batch.rows] += margin(logits.detach(), own).double()
        return losses.cross_entropy(logits, own).mean()

    fit(
        {"weight": weight, "bias": bias},
        np.arange(len(labels)),
        lambda rows: torch.from_numpy(inputs[rows]),
        loss_of,
        Recipe(
            settings.epochs,
            settings.batch_size,
            settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            schedule="constant",
        ),
        seed=run.seed,
        what="Training a probe",
        memory={"total": total},
        checkpoint=run.checkpoint(name),
    )
    return total.numpy() / (settings.epochs - 1)


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Train twice and compare every margin with those of labels known to be wrong."""
    n, k = len(images), len(images.classes)
    inputs = standardise(np.asarray(image_features(images, encoder), dtype=np.float32))
    inputs /= np.sqrt(inputs.shape[1])
    above, runs = np.zeros(n), np.zeros(n)
    for number, fake in enumerate(threshold_samples(n, k, run.seed)):
        labels = images.labels.copy()
        labels[fake] = k
        area = areas(inputs, labels, k + 1, settings, run, f"aum-{number}")
        normal = np.setdiff1d(np.arange(n), fake)
        above[normal] += area[normal] - np.quantile(area[fake], PERCENTILE)
        runs[normal] += 1
    above /= runs.clip(1)
    own = above < 0 if settings.flags == "own" else None
    probs = out_of_fold(images, encoder, run.seed)
    return judged(
        images,
        run,
        probs,
        -above,
        noise_rate=settings.noise_rate,
        own=own,
        columns={"aum": above},
    )
