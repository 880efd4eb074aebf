"""Losses per sample, one function each: logits [b, k] float32 and labels [b] int64 -> [b]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 1e-5  # DeFT's code clamps probabilities here before the logarithm
LOG_ZERO = -9.210340371976182  # ln 1e-4: what DeFT's code takes for log 0
ELR_FLOOR = 1e-4  # the code of early-learning regularisation clamps here


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y."""
    return F.cross_entropy(logits, labels, reduction="none")


def symmetric_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 1.0,
    log_zero: float = LOG_ZERO,
) -> Tensor:
    """α·CE + β·reverse CE (Wang et al., ICCV 2019, eq. 5-7).

    With log 0 := A, reverse CE is -A (1 - p_y). The default A and α = β = 1 are those of DeFT's
    code.
    """
    given = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
    return alpha * cross_entropy(logits, labels) + beta * -log_zero * (1 - given)


def generalized_cross_entropy(logits: Tensor, labels: Tensor, q: float = 0.7) -> Tensor:
    """(1 - p_y^q) / q (Zhang & Sabuncu, NeurIPS 2018, eq. 6).

    Cross-entropy as q goes to 0, mean absolute error at q = 1.
    """
    # p^q by way of the logarithm, which does not underflow
    return (1 - torch.exp(-q * cross_entropy(logits, labels))) / q


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Σ_k |p_k - y_k| = 2 (1 - p_y) (Ghosh, Kumar, Sastry, AAAI 2017).

    It is bounded, so that wrong labels weigh little.
    """
    return 2 * (1 - logits.softmax(-1).gather(1, labels[:, None])[:, 0])


def early_learning(
    logits: Tensor, labels: Tensor, targets: Tensor, strength: float = 5.0
) -> Tensor:
    """CE + λ log(1 - <t, p>), p clamped to [1e-4, 1 - 1e-4] (Liu et al., NeurIPS 2020, eq. 6).

    Args:
        targets: t [b, k], earlier predictions (`early_targets`), without gradient.
        strength: λ; the default is that of DeFT's code for every data set.
    """
    p = logits.softmax(-1).clamp(ELR_FLOOR, 1 - ELR_FLOOR)
    regulariser = torch.log(1 - (targets * p).sum(-1))
    return cross_entropy(logits, labels) + strength * regulariser


def early_targets(targets: Tensor, logits: Tensor, momentum: float = 0.3) -> Tensor:
    """Targets of this step from those before, [b, k], without gradient.

    t ← β t + (1 - β) p / Σ p; β as in DeFT's code.
    """
    p = logits.detach().softmax(-1).clamp(ELR_FLOOR, 1 - ELR_FLOOR)
    return momentum * targets + (1 - momentum) * p / p.sum(-1, keepdim=True)


def clean_probability(positive: Tensor, negative: Tensor) -> Tensor:
    """Softmax over [positive, negative] of each class, the first part (Wei et al. 2024, eq. 2).

    That is σ(positive - negative).
    """
    return torch.sigmoid(positive - negative)


def dual_prompt_loss(p_yes: Tensor, target: Tensor, complementary: Tensor) -> Tensor:
    """Negative learning of the dual prompts, [b] (Wei et al. 2024, eq. 4).

    -log p_no[complementary] - log p_yes[target].

    Args:
        p_yes: [b, k] probability that the class fits.
        target: [b] the given label, or after the warm-up the model's answer where the label was
            not selected.
        complementary: [b] a random other class.
    """
    yes = p_yes.gather(1, target[:, None])[:, 0].clamp(min=FLOOR)
    no = (1 - p_yes.gather(1, complementary[:, None])[:, 0]).clamp(min=FLOOR)
    return -no.log() - yes.log()


def selected_mean(losses: Tensor, selected: Tensor) -> Tensor:
    """Mean over the selected [b]; where nothing is, zero with a zero gradient.

    The authors' code gives NaN there.
    """
    weight = selected.to(losses.dtype)
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def set_ranking(scores: Tensor, present: Tensor, margin: float = 1.0) -> Tensor:
    """Σ_i∉P Σ_j∈P max(0, m - s_j + s_i) of each row, summed over pairs (TaI-DPT, eq. 4; CoMC).

    0 where every class of the set has a score higher by the margin than every other one.

    Args:
        scores: s [b, k]. present: [b, k] bool, P.
    """
    # [b, j, i]; a new tensor, where the authors' code multiplies its argument in place
    hinge = (margin - scores[:, :, None] + scores[:, None, :]).clamp(min=0)
    pairs = present[:, :, None] & ~present[:, None, :]
    return (hinge * pairs).sum((1, 2))
