"""Patches of pictures against prompts: conditional transport, and where a picture disagrees.

The two costs are those of Zheng and Zhou, "Exploiting Chain Rule and Bayes' Theorem to Compare
Probability Distributions" (NeurIPS 2021), with the cost exp(-u·h) and the closeness exp(u·h) that
the authors of PBPrompt use (Wang et al., "Representing Mixtures of Word Embeddings with Mixtures of
Topic Embeddings", ICLR 2022). Ours is the temperature inside the closeness: of vectors of length
one exp(u·h) is between 0.37 and 2.72, and the plan would share out everything evenly.

Shapes: b pictures, m patches, s prompts, d width; all vectors of length one.
"""

from __future__ import annotations

import torch
from torch import Tensor

TEMPERATURE = (
    10.0  # factor on u·h in the closeness: of 10 to 50 the least, which sees most
)


def conditional_transport(
    patches: Tensor,
    prompts: Tensor,
    shares: Tensor,
    temperature: float = TEMPERATURE,
    forward: float = 0.5,
) -> Tensor:
    """[b] cost of bringing a picture's patches to prompts and back.

    Args:
        patches: u [b, m, d], each with mass 1 / m. prompts: h [b, s, d] or [s, d].
        shares: θ [b, s] or [s], mass of the prompts; rows sum to one.
        temperature: factor on u·h in the closeness, not in the cost.
        forward: weight of the way from patches to prompts; the rest is the way back.
    """
    cosines = patches @ prompts.transpose(-1, -2)
    cost = torch.exp(-cosines)
    shares = shares.expand(len(patches), -1)
    near = temperature * cosines
    # each patch chooses among prompts, each prompt among patches
    to_prompts = (near + shares.clamp(min=1e-30).log()[:, None]).softmax(2)
    to_patches = near.softmax(1)
    there = (to_prompts * cost).sum(2).mean(1)
    back = (shares * (to_patches * cost).sum(1)).sum(1)
    return forward * there + (1 - forward) * back


def disagreement(patches: Tensor, given: Tensor, other: Tensor, scale: float) -> Tensor:
    """[b, m] share of each patch that another class has, out of the two.

    Args:
        patches: [b, m, d]. given, other: [b, d] features of the label and of the other class.
        scale: what cosines are multiplied by.
    """
    margin = (patches * (other - given)[:, None]).sum(2)
    return torch.sigmoid(scale * margin)
