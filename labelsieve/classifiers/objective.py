"""What fine-tuning minimises: one loss per image from logits and labels, some with a memory.

The formulas are in `labelsieve.training.losses`; here they get their settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.classifiers.recipe import Settings
from labelsieve.errors import OptionError
from labelsieve.training import context_vat, distributed, losses

# logits [b, k], labels [b], row numbers [b] -> losses [b]
Loss = Callable[[Tensor, Tensor, np.ndarray], Tensor]
# what a training keeps from step to step, saved with its checkpoints
Memory = dict[str, Tensor]
REGULARISERS = ("none", "context-vat")


@dataclass(frozen=True)
class Objective:
    """What is minimised, and over which images.

    Attributes:
        loss: a name of `LOSSES`.
        divides: select images by a mixture of two Gaussians on their losses before each
            epoch (use=gmm).
        regulariser: a name of `REGULARISERS`, added to the loss.
    """

    loss: str = "ce"
    divides: bool = False
    regulariser: str = "none"


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


def check(objective: Objective, head: nn.Linear | None) -> None:
    """What cannot be regularised as was asked for.

    Raises:
        OptionError: there is no single head, or several processes train together.
    """
    if objective.regulariser == "none":
        return
    if head is None:
        raise OptionError(
            "--regulariser context-vat needs a model whose head is one linear layer.",
            "Take another --student.",
        )
    # each would push the rows that it has from other directions
    if distributed.size() > 1:
        raise OptionError("--regulariser context-vat trains in one process.")


def pushed(
    settings: Settings, head: nn.Linear, contexts: Tensor, generator: torch.Generator
) -> Tensor:
    """What context-vat adds to the losses of rows, [b].

    Args:
        contexts: [b, d] what the head was given, with gradient.
    """
    push = context_vat.Push(settings.vat_size, settings.vat_probe, settings.vat_steps)
    return settings.vat_weight * context_vat.loss(head, contexts, push, generator)
