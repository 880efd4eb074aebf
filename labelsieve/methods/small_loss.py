"""Small loss: labels that a classifier learns late are suspect; it learns from the batch's smallest losses only.

The rule of Co-teaching (Han et al., NeurIPS 2018) as DeFT's paper uses it for a baseline (Wei et al. 2024, tables 1 and 5):
one network, the same tower and tuning as DeFT with a linear layer (`_tuned`), which learns in epoch e from the
int((1 - R(e)) b) smallest of the b losses of a batch, R(e) = linspace(0, r, warm-up epochs)[e], then r. r is the known rate
of wrong labels, or the estimated one (labelsieve.estimation.transition on out-of-fold answers of a linear probe).

Differences: labels are judged by the loss in a last pass without augmentation, ranked over all images (there: within the
batches of the last training epoch, whose precision and recall are averaged). Co-teaching's second network, which
exchanges samples with the first, is left out as there. r is the share of wrong labels; there it is the nominal rate of a
noise generator, which may redraw the true class. `accumulate` splits batches, and with them the ranking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labelsieve.data.dataset import Dataset
from labelsieve.estimation.transition import fit_transition
from labelsieve.features.probe import out_of_fold
from labelsieve.features.task import Workplace
from labelsieve.methods import Evidence
from labelsieve.methods._evidence import judged
from labelsieve.methods._tuned_classifier import PRESETS as PRESETS
from labelsieve.methods._tuned_classifier import Classifier, Training
from labelsieve.models.encoder import DualEncoder
from labelsieve.training.loop import Batch

COST = "a few passes forward and backward through the frozen image tower; with --fast one pass forward; five linear probes"
NEEDS = ("pixels",)


@dataclass(frozen=True)
class Settings(Training):
    """See the module's docstring."""


def forget_rate(epoch: int, rate: float, warmup_epochs: int) -> float:
    """R(e): the share of a batch that is left out."""
    return (
        float(np.linspace(0, rate, warmup_epochs)[epoch])
        if epoch < warmup_epochs
        else rate
    )


def smallest(losses: Tensor, share: float) -> Tensor:
    """[b] bool: the int(share b) smallest, at least one; of equal ones the first."""
    chosen = losses.argsort(stable=True)[
        : max(1, math.floor(share * len(losses) + 1e-9))
    ]
    return torch.zeros(len(losses), dtype=torch.bool, device=losses.device).index_fill(
        0, chosen, True
    )


def detect(
    images: Dataset, encoder: DualEncoder, settings: Settings, run: Workplace
) -> Evidence:
    """Train on small losses and rank by the loss."""
    blind = out_of_fold(images, encoder, run.seed)
    rate = settings.noise_rate
    if rate is None:
        transition = fit_transition(blind, images.labels, run.seed)
        each = np.arange(len(images))
        rate = float(
            1
            - transition.posterior(transition.calibrate(blind), images.labels)[
                each, images.labels
            ].mean()
        )
    classifier = Classifier(images, encoder, settings, run.seed)

    def keep(batch: Batch, losses: Tensor) -> Tensor:
        return smallest(
            losses, 1 - forget_rate(batch.epoch, rate, settings.warmup_epochs)
        )

    classifier.train(run, "small-loss", keep)
    losses, probs = classifier.judge()
    return judged(
        images,
        run,
        blind,
        losses,
        noise_rate=settings.noise_rate,
        answers=probs,
        columns={"loss": losses},
        facts={"rate": rate},
    )
