"""Blocks of open_clip and timm, taken apart into the modules that `models.blocks` computes with.

Both libraries keep query, key and value in one matrix. Here each is a module of its own, as in
transformers, so that learned tokens, LoRA and the shared prefix work on these towers as on all
others. Layer scales are multiplied into the matrices before them, which is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Unsupported(Exception):
    """A part of a tower that cannot be taken apart; the message names it."""


class Attention(nn.Module):
    """Self-attention with one linear map each; `models.blocks` does the arithmetic."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, out_proj: nn.Linear, heads: int
    ) -> None:
        super().__init__()
        biases: Sequence[Tensor | None] = [None] * 3 if bias is None else bias.chunk(3)
        maps = [_linear(*pair) for pair in zip(weight.chunk(3), biases, strict=True)]
        self.q_proj, self.k_proj, self.v_proj = maps
        self.out_proj = out_proj
        self.num_heads = heads


class Mlp(nn.Module):
    """Two linear maps with a nonlinearity between them."""

    def __init__(self, fc1: nn.Linear, activation: nn.Module, fc2: nn.Linear) -> None:
        super().__init__()
        self.fc1, self.activation_fn, self.fc2 = fc1, activation, fc2

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
        return self.fc2(self.activation_fn(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm block, by its parts; it has no forward of its own."""

    def __init__(
        self,
        norm1: nn.Module,
        attention: Attention,
        norm2: nn.Module,
        mlp: Mlp,
    ) -> None:
        super().__init__()
        self.layer_norm1, self.self_attn = norm1, attention
        self.layer_norm2, self.mlp = norm2, mlp


def of_open_clip(block: Any) -> Block:
    """A `ResidualAttentionBlock` of open_clip.

    Raises:
        Unsupported: another kind of block.
    """
    if type(block).__name__ != "ResidualAttentionBlock" or hasattr(block, "ln_1_kv"):
        raise Unsupported(f"blocks of type {type(block).__name__}")
    attention = Attention(
        block.attn.in_proj_weight,
        block.attn.in_proj_bias,
        _scaled(block.attn.out_proj, block.ls_1),
        block.attn.num_heads,
    )
    # by name: a custom block has a fourth module between them
    mlp = Mlp(block.mlp.c_fc, block.mlp.gelu, _scaled(block.mlp.c_proj, block.ls_2))
    return Block(block.ln_1, attention, block.ln_2, mlp)


def of_timm(block: Any) -> Block:
    """A `Block` of timm's VisionTransformer.

    Raises:
        Unsupported: another kind of block, or one with norms inside attention or MLP.
    """
    kinds = (type(block).__name__, type(block.attn).__name__)
    if kinds != ("Block", "Attention"):
        raise Unsupported(f"blocks of type {' with '.join(kinds)}")
    for name in ("attn.q_norm", "attn.k_norm", "attn.norm", "attn.gate", "mlp.norm"):
        holder, _, part = name.partition(".")
        # some came with later releases of timm
        inner = getattr(getattr(block, holder), part, None)
        if inner is not None and not isinstance(inner, nn.Identity):
            raise Unsupported(f"blocks with '{name}'")
    attention = Attention(
        block.attn.qkv.weight,
        block.attn.qkv.bias,
        _scaled(block.attn.proj, block.ls1),
        block.attn.num_heads,
    )
    mlp = Mlp(block.mlp.fc1, block.mlp.act, _scaled(block.mlp.fc2, block.ls2))
    return Block(block.norm1, attention, block.norm2, mlp)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear map with these numbers, copied: they were parts of a larger matrix."""
    outputs, inputs = weight.shape
    # no random start is drawn: it would be overwritten
    made = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _scaled(linear: nn.Linear, scale: Any) -> nn.Linear:
    """A linear map with the layer scale behind it multiplied in: γ (W x + b)."""
    if isinstance(scale, nn.Identity):
        return linear
    gamma = scale.gamma.detach()
    bias = None if linear.bias is None else linear.bias * gamma
    return _linear(linear.weight * gamma[:, None], bias)
