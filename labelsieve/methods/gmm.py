"""GMM: two Gaussians on the loss tell clean labels, which a classifier learns from, from wrong.

The division of DivideMix (Li, Socher, Hoi, ICLR 2020, section 3.1) as DeFT's paper uses it for a
baseline (Wei et al. 2024, tables 3 and 8): after a warm-up, before each epoch, losses of all images
without augmentation are scaled to [0, 1], a mixture of two Gaussians is fitted, and labels with a
posterior w > 0.5 of the one with the smaller mean are learned from. score: the loss after the last
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
from labelsieve.methods._posterior import select_reference
from labelsieve.methods._tuned_classifier import PRESETS as PRESETS
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.training.loop import Batch

COST = (
    "a few passes forward and backward through the frozen image tower, and one forward for "
    "each epoch; with --fast one pass forward"
)
NEEDS = ("pixels",)
JUDGES = ("single",)


@dataclass(frozen=True)
class Settings(Training, OwnRule):
    """See the module's docstring."""


def detect(task: Task, settings: Settings) -> Evidence:
    """Train, dividing the labels before each epoch."""
    # of the tower as it is, before adapters are put into it
    select_reference(task)
    classifier = Classifier(task, settings)
    division = _Division(classifier, settings)
    classifier.train("gmm", division.keep, division.memory, division.after_epoch)
    losses, _ = classifier.judge()
    better = mixture.upper_cluster(-losses, task.seed)
    ranking = Ranking(
        suspicion=losses,
        own=better <= 0.5,
        columns={"loss": losses},
    )
    return from_ranking(task, ranking, settings)


class _Division:
    """Which labels are learned from: all in the warm-up, then those with the smaller losses."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self._classifier = classifier
        self._settings = settings
        # a tensor, because it is saved and restored with the checkpoint
        n = len(classifier.data)
        self.memory = {"kept": torch.ones(n, dtype=torch.bool)}

    def keep(self, batch: Batch, losses: Tensor) -> Tensor:
        """[b] bool, by the division before this epoch, not by the losses [b] of this step."""
        return self.memory["kept"][batch.rows].to(losses.device)

    def after_epoch(self, epoch: int) -> bool:
        """Divide anew for the next epoch. Training goes on."""
        # after the last epoch there is none
        if self._settings.warmup_epochs <= epoch < self._settings.epochs:
            losses, _ = self._classifier.judge()
            better = mixture.upper_cluster(-losses, self._classifier.task.seed)
            self.memory["kept"].copy_(torch.from_numpy(better > 0.5))
        return False
