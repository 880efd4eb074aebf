"""Losses per sample, one function each: logits [b, k] float32 and labels [b] int64 -> [b]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-5  # DeFT's code clamps probabilities here before the logarithm


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y."""
    return F.cross_entropy(logits, labels, reduction="none")


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, alpha: float = 1.0, beta: float = 1.0, log_zero: float = -9.210340371976182
) -> Tensor:
    """α·CE + β·reverse CE (Wang et al., ICCV 2019, eq. 5-7). With log 0 := A, reverse CE is -A (1 - p_y).

    The default A = ln 1e-4 and α = β = 1 are those of DeFT's code.
    """
    given = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
    return alpha * cross_entropy(logits, labels) + beta * -log_zero * (1 - given)


def clean_probability(positive: Tensor, negative: Tensor) -> Tensor:
    """Softmax over [positive, negative] of each class, the first part: σ(positive - negative) (Wei et al. 2024, eq. 2)."""
    return torch.sigmoid(positive - negative)


def dual_prompt_loss(p_yes: Tensor, target: Tensor, complementary: Tensor) -> Tensor:
    """Negative learning of the dual prompts (Wei et al. 2024, eq. 4): -log p_no[complementary] - log p_yes[target], [b].

    Args:
        p_yes: [b, k] probability that the class fits.
        target: [b] the given label, or after the warm-up the model's answer where the label was not selected.
        complementary: [b] a random other class.
    """
    yes = p_yes.gather(1, target[:, None])[:, 0].clamp(min=FLOOR)
    no = (1 - p_yes.gather(1, complementary[:, None])[:, 0]).clamp(min=FLOOR)
    return -no.log() - yes.log()


def selected_mean(losses: Tensor, selected: Tensor) -> Tensor:
    """Mean over the selected [b]; zero with a zero gradient where nothing is (the authors' code gives NaN there)."""
    weight = selected.to(losses.dtype)
    return (losses * weight).sum() / weight.sum().clamp(min=1)
