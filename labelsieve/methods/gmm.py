"""GMM: two Gaussians on the loss tell clean labels, which a classifier learns from, from wrong.

The division of DivideMix (Li, Socher, Hoi, ICLR 2020, section 3.1) as DeFT's paper uses it for a
baseline (Wei et al. 2024, tables 3 and 8): after a warm-up, before each epoch, losses of all images
without augmentation are scaled to [0, 1], a mixture of two Gaussians is fitted, and labels with a
posterior w > 0.5 of the one with the smaller mean are learned from. p_clean = w after the last
epoch. The same tower and tuning as DeFT with a linear layer (`_tuned_classifier`).

Differences: one network, no co-refinement and no MixMatch (as in the baseline); the mixture is
seeded, runs until it converges, and w never rises with the loss
(labelsieve.estimation.mixture.upper_cluster): with unequal variances the very smallest losses
would else count as wrong. Losses are float32, not half. Own rule: w ≤ 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from labelsieve.estimation import mixture
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import OwnRule, Ranking, from_ranking
from labelsieve.methods._tuned_classifier import PRESETS as PRESETS
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.training.loop import Batch

COST = (
    "a few passes forward and backward through the frozen image tower, and one forward for "
    "each epoch; with --fast one pass forward; five linear probes"
)
NEEDS = ("pixels",)
JUDGES = ("single",)


@dataclass(frozen=True)
class Settings(Training, OwnRule):
    """See the module's docstring."""


def detect(task: Task, settings: Settings) -> Evidence:
    """Train, dividing the labels before each epoch."""
    # of the tower as it is, before adapters are put into it
    blind = task.out_of_fold()
    classifier = Classifier(task, settings)
    # in `memory`, because it is saved and restored with the checkpoint
    memory = {"kept": torch.ones(len(task.data), dtype=torch.bool)}

    def keep(batch: Batch, losses: Tensor) -> Tensor:
        return memory["kept"][batch.rows].to(losses.device)

    def after_epoch(epoch: int) -> bool:
        if settings.warmup_epochs <= epoch < settings.epochs:
            better = mixture.upper_cluster(-classifier.judge()[0], task.seed)
            memory["kept"].copy_(torch.from_numpy(better > 0.5))
        return False

    classifier.train("gmm", keep, memory, after_epoch)
    losses, probs = classifier.judge()
    better = mixture.upper_cluster(-losses, task.seed)
    ranking = Ranking(
        suspicion=losses,
        probs=blind,
        own=better <= 0.5,
        p_clean=better,
        answers=probs,
        columns={"loss": losses},
    )
    return from_ranking(task, ranking, settings)
