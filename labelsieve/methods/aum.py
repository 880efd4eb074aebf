"""AUM: labels whose logit does not lead while a linear probe is trained are suspect.

Pleiss, Zhang, Elenberg, Weinberger, "Identifying Mislabeled Data using the Area Under the Margin
Ranking", NeurIPS 2020; authors' code asappresearch/aum. Margin of an image in one epoch = logit of
the given label minus the largest other one, while the weights move; AUM = mean over the epochs
without the first. Threshold samples: n // (k + 1) random images get a class k + 1 that does not
exist, so their AUM is that of wrong labels; own rule: AUM below their 99th percentile. Two runs
with disjoint threshold samples, so that every image is once trained with its own label.

Differences from the paper: a linear probe on frozen features is trained instead of a network
(features centred and of length one on average, which the paper's step size needs); 30 epochs
instead of 150 (preset `paper`); since margins compare only within a run, what is averaged over
runs is the distance to the run's percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.features.probe import standardise
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Frozen, Ranking, from_ranking, seen
from labelsieve.settings import AtLeast
from labelsieve.training import losses
from labelsieve.training.loop import Batch, Problem, Recipe, fit

COST = "one pass of the image tower (cached), two trainings of a linear layer"
NEEDS = ()
JUDGES = ("single",)
PRESETS: dict[str, dict[str, Any]] = {"default": {}, "paper": {"epochs": 150}}
PERCENTILE = 0.99  # of the threshold samples, as in the paper


@dataclass(frozen=True)
class Settings(Frozen):
    """Optimiser: the paper's first stage (no drops of the learning rate)."""

    # the first epoch does not count, so there are at least two
    epochs: Annotated[int, AtLeast(2)] = 30
    lr: Annotated[float, AtLeast(0)] = 0.1
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 1e-4
    batch_size: Annotated[int, AtLeast(1)] = 64

    def recipe(self) -> Recipe:
        """How the linear layer is optimised."""
        return Recipe(
            self.epochs,
            self.batch_size,
            self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule="constant",
        )


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """[b, c], [b] -> [b]: the logit of the label minus the largest other one."""
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return logits.gather(1, labels[:, None])[:, 0] - others.max(1).values


def threshold_samples(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of n // (k + 1) rows."""
    size = max(1, n // (classes + 1))
    # n is part of the seed, so that runs on parts of one data set draw independently
    order = np.random.default_rng([seed, n]).permutation(n)
    return order[:size], order[size : 2 * size]


def areas(
    inputs: np.ndarray, labels: np.ndarray, settings: Settings, task: Task, name: str
) -> np.ndarray:
    """AUM [n] float64 of training a linear layer on inputs [n, d] float32.

    Args:
        labels: [n] with the class beyond the data's, which has an output of its own.
        task: for its number of classes, its seed and its checkpoints.
        name: of the checkpoint.
    """
    outputs = len(task.data.classes) + 1
    weight = nn.Parameter(torch.zeros(outputs, inputs.shape[1]))
    bias = nn.Parameter(torch.zeros(outputs))
    # margins of all epochs; saved and restored with the checkpoint
    total = torch.zeros(len(labels), dtype=torch.float64)
    given = torch.from_numpy(labels)

    def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
        logits = loaded @ weight.T + bias
        own = given[batch.rows]
        # as in the authors' code, the first epoch does not count
        if batch.epoch:
            total[batch.rows] += margin(logits.detach(), own).double()
        return losses.cross_entropy(logits, own).mean()

    fit(
        Problem(
            {"weight": weight, "bias": bias},
            np.arange(len(labels)),
            lambda rows: torch.from_numpy(inputs[rows]),
            loss_of,
            what="Training a probe",
            memory={"total": total},
        ),
        settings.recipe(),
        seed=task.seed,
        checkpoint=task.checkpoint(name),
    )
    return total.numpy() / (settings.epochs - 1)


def detect(task: Task, settings: Settings) -> Evidence:
    """Train twice and compare every margin with those of labels known to be wrong."""
    task = seen(task, settings)
    above = _above_threshold(task, settings)
    ranking = Ranking(
        suspicion=-above,
        own=above < 0,
        columns={"aum": above},
    )
    return from_ranking(task, ranking, settings)


def _above_threshold(task: Task, settings: Settings) -> np.ndarray:
    """[n] AUM minus the percentile of the threshold samples, the mean over both runs."""
    n, k = len(task.data), len(task.data.classes)
    inputs = standardise(np.asarray(task.image_features(), dtype=np.float32))
    # of length one on average
    inputs /= np.sqrt(inputs.shape[1])
    above = np.zeros(n)
    runs = np.zeros(n)
    for number, fake in enumerate(threshold_samples(n, k, task.seed)):
        labels = task.data.labels.copy()
        labels[fake] = k
        area = areas(inputs, labels, settings, task, f"aum-{number}")
        # threshold samples were trained with a wrong label, so this run cannot judge them
        normal = np.setdiff1d(np.arange(n), fake)
        above[normal] += area[normal] - np.quantile(area[fake], PERCENTILE)
        runs[normal] += 1
    return above / runs
