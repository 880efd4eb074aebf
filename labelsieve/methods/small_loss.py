"""Small loss: labels that a classifier learns late are suspect; small losses alone teach it.

The rule of Co-teaching (Han et al., NeurIPS 2018) as DeFT's paper uses it for a baseline (Wei et
al. 2024, tables 1 and 5): one network, the same tower and tuning as DeFT with a linear layer
(`_tuned_classifier`), which learns in epoch e from the int((1 - R(e)) b) smallest of the b losses
of a batch, R(e) = linspace(0, r, warm-up epochs)[e], then r. r is the known rate of wrong labels,
or the estimated one (labelsieve.estimation.transition on out-of-fold answers of a linear probe).

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

from labelsieve.estimation.transition import fit_transition
from labelsieve.features.task import Task
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import Ranking, from_ranking, of_given
from labelsieve.methods._tuned_classifier import PRESETS as PRESETS
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.training.loop import Batch

COST = (
    "a few passes forward and backward through the frozen image tower; "
    "with --fast one pass forward; five linear probes"
)
NEEDS = ("pixels",)
JUDGES = ("single",)


@dataclass(frozen=True)
class Settings(Training):
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
    blind = task.out_of_fold()
    rate = settings.noise_rate
    if rate is None:
        rate = _estimated_rate(blind, task)
    classifier = Classifier(task, settings)

    def keep(batch: Batch, losses: Tensor) -> Tensor:
        forgotten = forget_rate(batch.epoch, rate, settings.warmup_epochs)
        return smallest(losses, 1 - forgotten)

    classifier.train("small-loss", keep)
    losses, probs = classifier.judge()
    # a loss is no probability: p_clean is left to the estimate from `blind`
    ranking = Ranking(
        suspicion=losses,
        probs=blind,
        answers=probs,
        columns={"loss": losses},
        facts={"rate": rate},
    )
    return from_ranking(task, ranking, settings)


def _estimated_rate(probs: np.ndarray, task: Task) -> float:
    """Share of wrong labels by class probabilities [n, k] that do not know them."""
    labels = task.data.labels
    transition = fit_transition(probs, labels, task.seed)
    posterior = transition.posterior(transition.calibrate(probs), labels)
    return float(1 - of_given(posterior, labels).mean())
