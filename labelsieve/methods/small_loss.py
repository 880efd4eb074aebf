"""Small loss: labels that a classifier learns late are suspect; small losses alone teach it.

The rule of Co-teaching (Han et al., NeurIPS 2018) as DeFT's paper uses it for a baseline (Wei et
al. 2024, tables 1 and 5): one network, the same tower and tuning as DeFT with a linear layer
(`_tuned_classifier`), which learns in epoch e from the int((1 - R(e)) b) smallest of the b losses
of a batch, R(e) = linspace(0, r, warm-up epochs)[e], then r. r is the known rate of wrong labels,
or the estimated one (`labelsieve.methods._posterior`).

Differences: labels are judged by the loss in a last pass without augmentation, ranked over all
images (there: within the batches of the last training epoch, whose precision and recall are
averaged). Co-teaching's second network, which exchanges samples with the first, is left out as
there. r is the share of wrong labels; there it is the nominal rate of a noise generator, which may
redraw the true class. `accumulate` splits batches, and with them the ranking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Ranking, Rules, from_ranking
from labelsieve.methods._posterior import select_reference
from labelsieve.methods._tuned_classifier import PRESETS as PRESETS
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.training.loop import Batch

COST = (
    "a few passes forward and backward through the frozen image tower; "
    "with --fast one pass forward"
)
NEEDS = ("pixels",)
JUDGES = ("single",)


@dataclass(frozen=True)
class Settings(Training, Rules):
    """See the module's docstring."""


def forget_rate(epoch: int, rate: float, warmup_epochs: int) -> float:
    """R(e): the share of a batch that is left out."""
    if epoch >= warmup_epochs:
        return rate
    return float(np.linspace(0, rate, warmup_epochs)[epoch])


def smallest(losses: Tensor, share: float) -> Tensor:
    """[b] bool: the int(share b) smallest, at least one; of equal ones the first."""
    # 0.29 * 100 is below 29 in floating point
    count = max(1, math.floor(share * len(losses) + 1e-9))
    kept = torch.zeros(len(losses), dtype=torch.bool, device=losses.device)
    return kept.index_fill(0, losses.argsort(stable=True)[:count], True)


def detect(task: Task, settings: Settings) -> Evidence:
    """Train on small losses and rank by the loss."""
    # of the tower as it is, before adapters are put into it
    reference = select_reference(task)
    rate = settings.noise_rate
    if rate is None:
        rate = reference.wrong_rate(task.data.labels)
    classifier = Classifier(task, settings)

    def keep(batch: Batch, losses: Tensor) -> Tensor:
        forgotten = forget_rate(batch.epoch, rate, settings.warmup_epochs)
        return smallest(losses, 1 - forgotten)

    classifier.train("small-loss", keep)
    losses, _ = classifier.judge()
    ranking = Ranking(
        suspicion=losses,
        columns={"loss": losses},
        facts={"rate": rate},
    )
    return from_ranking(task, ranking, settings)
