"""What fine-tuning minimises: one loss per image from logits and labels, some with a memory.

The formulas are in `labelsieve.training.losses`; here they get their settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from labelsieve.classifiers.recipe import Settings
from labelsieve.training import losses

# logits [b, k], labels [b], row numbers [b] -> losses [b]
Loss = Callable[[Tensor, Tensor, np.ndarray], Tensor]
# what a training keeps from step to step, saved with its checkpoints
Memory = dict[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimised, and over which images.

    Attributes:
        loss: a name of `LOSSES`.
        divides: select images by a mixture of two Gaussians on their losses before each
            epoch (use=gmm).
    """

    loss: str = "ce"
    divides: bool = False


def _ce(settings: Settings, memory: Memory) -> Loss:
    return lambda logits, labels, rows: losses.cross_entropy(logits, labels)


def _sce(settings: Settings, memory: Memory) -> Loss:
    return lambda logits, labels, rows: losses.symmetric_cross_entropy(
        logits, labels, settings.sce_alpha, settings.sce_beta
    )


def _gce(settings: Settings, memory: Memory) -> Loss:
    return lambda logits, labels, rows: losses.generalized_cross_entropy(
        logits, labels, settings.gce_q
    )


def _mae(settings: Settings, memory: Memory) -> Loss:
    return lambda logits, labels, rows: losses.mean_absolute_error(logits, labels)


def _elr(settings: Settings, memory: Memory) -> Loss:
    """Keeps one row of targets per image in `memory`, from zero on."""

    def loss(logits: Tensor, labels: Tensor, rows: np.ndarray) -> Tensor:
        kept = memory["elr"]
        before = kept[rows].to(logits.device)
        targets = losses.early_targets(before, logits, settings.elr_momentum)
        kept[rows] = targets.to(kept.device)
        return losses.early_learning(logits, labels, targets, settings.elr_strength)

    return loss


LOSSES: dict[str, Callable[[Settings, Memory], Loss]] = {
    "ce": _ce,
    "sce": _sce,
    "elr": _elr,
    "gce": _gce,
    "mae": _mae,
}
