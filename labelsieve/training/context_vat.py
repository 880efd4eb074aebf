"""Context-based virtual adversarial training: answers hold where a text's context vector is moved.

Lee, Kim, Seo, "Context-based Virtual Adversarial Training for Text Classification with Noisy
Labels", LREC 2022 (abstract), with the formulas of virtual adversarial training (Miyato et al.,
TPAMI 2019). What the head is given, h, is moved by r in the direction in which the answer changes
most, found by power iteration; KL(p || p(h + r)) is added to the loss, which keeps the head from
bending around single wrong labels. Ours: the length of r is relative to the mean length of h in
the batch, since encoders differ; the mask of dropout below h is that of the step, as h is computed
once.
Any vector that a head is given will do, of a text or of a picture.

Shapes: b rows, d width of h, k classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12  # where all answers are alike the gradient is nothing


@dataclass(frozen=True)
class Push:
    """How far, and how the direction is found.

    Attributes:
        size: length of r, relative to the mean length of h.
        probe: length at which the gradient is taken, likewise.
        steps: of power iteration.
    """

    size: float = 1.0
    probe: float = 0.1
    steps: int = 1


def divergence(p: Tensor, logits: Tensor) -> Tensor:
    """KL(p || softmax(logits)), [b], of probabilities [b, k] without gradient."""
    log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
    return (p * (log_p - logits.log_softmax(-1))).sum(-1)


def unit(vectors: Tensor) -> Tensor:
    """Rows [b, d] of length one."""
    return vectors / (vectors.norm(dim=-1, keepdim=True) + TINY)


def direction(
    head: Callable[[Tensor], Tensor],
    h: Tensor,
    push: Push,
    generator: torch.Generator,
) -> Tensor:
    """[b, d] of length one: where the answer changes most, without gradient.

    Args:
        head: h [b, d] -> logits [b, k].
        generator: of the first direction.
    """
    h = h.detach()
    p = head(h).softmax(-1).detach()
    scale = push.probe * h.norm(dim=-1).mean()
    # drawn on the CPU, so that every device begins with the same numbers
    drawn = torch.randn(h.shape, generator=generator, dtype=h.dtype)
    d = unit(drawn.to(h.device))
    for _ in range(push.steps):
        d = d.requires_grad_()
        with torch.enable_grad():
            changed = divergence(p, head(h + scale * d)).sum()
            (gradient,) = torch.autograd.grad(changed, d)
        # where all answers are alike there is no direction, and any will do
        lost = gradient.norm(dim=-1, keepdim=True) < TINY
        d = torch.where(lost, d.detach(), unit(gradient))
    return d


def loss(
    head: Callable[[Tensor], Tensor],
    h: Tensor,
    push: Push,
    generator: torch.Generator,
) -> Tensor:
    """KL(p || p(h + r)) of each row, [b], with gradient through the moved answer alone.

    Args:
        h: [b, d] float32, with gradient to what computed it.
    """
    # half precision would lose the small differences
    with torch.autocast(h.device.type, enabled=False):
        h = h.float()
        d = direction(head, h, push, generator)
        p = F.softmax(head(h), -1).detach()
        r = push.size * h.detach().norm(dim=-1).mean() * d
        return divergence(p, head(h + r))
