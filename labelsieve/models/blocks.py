"""The arithmetic of frozen pre-norm transformers with learned tokens beside them.

Nothing is computed that is thrown away.

These functions compute with the modules of a transformers checkpoint (CLIP and SigLIP
blocks have the same parts: `layer_norm1`, `self_attn`, `layer_norm2`, `mlp`), so that
adapters put into those modules take part.

Shapes: b images or texts, n tokens, p prompt tokens, c contexts (positive, negative), k
classes, s tokens of a class, h heads, d width of the tower, e = d / h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Up to this many tokens plain matrix products are faster than the fused kernel on a CPU
# (benchmarks/bench_step.py).
SMALL = 128


class QuickGelu(nn.Module):
    """x · sigmoid(1.702 x), as OpenAI's CLIP has it.

    Three passes over memory forward, one back, and one array kept; written out it takes six
    passes back and keeps the sigmoid, too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape and floating type, the same back."""
        if torch.is_grad_enabled() and x.requires_grad:
            return _QuickGelu.apply(x)  # type: ignore[no-untyped-call]
        # without a gradient nothing is kept, and written out rounds as the library does
        return x * torch.sigmoid(1.702 * x)


class _QuickGelu(torch.autograd.Function):
    """By way of SiLU, for which torch has both directions.

    Quick GELU of x is silu(1.702 x) / 1.702.
    """

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        scaled = x * 1.702
        context.save_for_backward(scaled)
        return F.silu(scaled).div_(1.702)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (scaled,) = context.saved_tensors
        # 1.702 of the inner derivative and 1 / 1.702 of the outer factor cancel
        return torch.ops.aten.silu_backward(gradients[0], scaled)


def use_quick_gelu(layers: Sequence[nn.Module], slow: type[nn.Module]) -> None:
    """Replace another implementation of the same function in the blocks of a tower."""
    for layer in layers:
        mlp: Any = layer.mlp
        if isinstance(mlp.activation_fn, slow):
            mlp.activation_fn = QuickGelu()


def operations(tokens: int, width: int, depth: int) -> float:
    """Floating-point operations of one picture in a tower of `depth` blocks.

    Two for each weight of the blocks and each token, 24 w² a block and token at width w, and
    4 w t² for the attention of t tokens.
    """
    return float(depth * (24 * width**2 * tokens + 4 * width * tokens**2))


def _heads(x: Tensor, heads: int) -> Tensor:
    """[..., n, d] -> [..., h, n, e]."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def _merge(x: Tensor) -> Tensor:
    """[..., h, n, e] -> [..., n, d]."""
    return x.transpose(-2, -3).flatten(-2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention of [b, h, n, e] over [b, h, m, e].

    Args:
        mask: [n, m] bool, True where a query may look; None lets it look everywhere.
    """
    if query.device.type != "cpu" or key.shape[-2] > SMALL:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    # the query is scaled, not the scores: it is the smaller one
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ value


def image_block(
    layer: nn.Module, x: Tensor, prompts: Tensor | None = None, first_only: bool = False
) -> Tensor:
    """One block over image tokens that also look at prompt tokens.

    The outputs of deep prompt tokens would be replaced before the next block (Jia et al.
    2022, eq. 5), so they are never computed. With `first_only` only the class token is,
    which is all that the pooled output needs.

    Args:
        x: [b, n, d].
        prompts: [p, d] or None.

    Returns:
        [b, n, d], or [b, 1, d].
    """
    attention: Any = layer.self_attn
    heads = attention.num_heads
    normed = layer.layer_norm1(x)  # type: ignore[operator]
    asking = normed
    if first_only:  # the class token asks, all tokens are looked at
        x = x[:, :1]
        asking = normed[:, :1]
    # before keys and values: gradients are summed in this order, and bits depend on it
    query = _heads(attention.q_proj(asking), heads)
    key, value = attention.k_proj(normed), attention.v_proj(normed)
    if prompts is not None:
        # the same for every picture, so normed and projected once
        beside = layer.layer_norm1(prompts.to(x.dtype))  # type: ignore[operator]
        key = torch.cat([key, attention.k_proj(beside).expand(len(x), -1, -1)], 1)
        value = torch.cat([value, attention.v_proj(beside).expand(len(x), -1, -1)], 1)
    x = x + attention.out_proj(
        _merge(attend(query, _heads(key, heads), _heads(value, heads)))
    )
    return x + layer.mlp(layer.layer_norm2(x))  # type: ignore[operator]


def run_image_blocks(
    layers: Sequence[nn.Module],
    x: Tensor,
    prompts: Sequence[Tensor] | None,
    class_token_only: bool,
) -> Tensor:
    """All blocks.

    Args:
        prompts: one [p, d] per block (deep), or a single one that stays in the sequence
            (shallow); None for none.

    Returns:
        [b, 1, d] with `class_token_only`, else [b, n, d] without prompt tokens.
    """
    length = x.shape[1]
    deep = prompts is not None and len(prompts) == len(layers)
    if prompts is not None and not deep:
        x = torch.cat([x, prompts[0].to(x.dtype).expand(len(x), -1, -1)], 1)
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        own = prompts[number] if deep and prompts is not None else None
        x = image_block(layer, x, own, last and class_token_only)
    return x[:, :length]  # shallow prompts end here


def own_block(layer: nn.Module, x: Tensor) -> Tensor:
    """One block whose tokens look at nothing but themselves, [b, n, d] -> [b, n, d].

    In the place of the last one it leaves each token with what is at its own place
    (Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022, section 3.2).
    """
    attention: Any = layer.self_attn
    # the softmax over one token is one: its value alone
    x = x + attention.out_proj(attention.v_proj(layer.layer_norm1(x)))  # type: ignore[operator]
    return x + layer.mlp(layer.layer_norm2(x))  # type: ignore[operator]


def causal_mask(n: int, device: torch.device) -> Tensor:
    """[n, n] bool, True where a token may look: at itself and before."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


def text_block(layer: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """One block over [b, n, d]; `mask` [n, n] or None when every token sees every other."""
    attention: Any = layer.self_attn
    normed = layer.layer_norm1(x)  # type: ignore[operator]
    query = _heads(attention.q_proj(normed), attention.num_heads)
    key = _heads(attention.k_proj(normed), attention.num_heads)
    value = _heads(attention.v_proj(normed), attention.num_heads)
    x = x + attention.out_proj(_merge(attend(query, key, value, mask)))
    return x + layer.mlp(layer.layer_norm2(x))  # type: ignore[operator]


KeysValues = list[tuple[Tensor, Tensor]]  # per block, each [c, h, p, e]


def run_prefix(layers: Sequence[nn.Module], x: Tensor) -> KeysValues:
    """Start token and context [c, p, d] through a causal tower once.

    In a causal tower these hidden states do not depend on what follows, so they are the
    same for every class.

    Returns:
        What later tokens need of it: keys and values.
    """
    mask = causal_mask(x.shape[1], x.device)
    kept: KeysValues = []
    for number, layer in enumerate(layers):
        attention: Any = layer.self_attn
        normed = layer.layer_norm1(x)  # type: ignore[operator]
        key = _heads(attention.k_proj(normed), attention.num_heads)
        value = _heads(attention.v_proj(normed), attention.num_heads)
        kept.append((key, value))
        if number < len(layers) - 1:  # what the last block gives, nobody reads
            query = _heads(attention.q_proj(normed), attention.num_heads)
            x = x + attention.out_proj(_merge(attend(query, key, value, mask)))
            x = x + layer.mlp(layer.layer_norm2(x))  # type: ignore[operator]
    return kept


def run_suffix(
    layers: Sequence[nn.Module], x: Tensor, end: Tensor, prefix: KeysValues
) -> Tensor:
    """The classes' own tokens after a shared prefix.

    Args:
        x: [c, k, s, d] embedded class tokens, padded after the end token.
        end: [k] position of the end token within s.
        prefix: of `run_prefix`.

    Returns:
        [c, k, d], the last block's output at each end token.
    """
    mask = causal_mask(x.shape[2], x.device)
    for number, (layer, (key, value)) in enumerate(zip(layers, prefix, strict=True)):
        # of the last block only what is read
        only = end if number == len(layers) - 1 else None
        x = _suffix_block(layer, x, key, value, mask, only)
    return x[:, :, 0]


def _suffix_block(
    layer: nn.Module,
    x: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    mask: Tensor,
    end: Tensor | None,
) -> Tensor:
    """One block over [c, k, s, d].

    Scores against the prefix are one product per context for all classes together, so its
    keys and values are never copied for each class. With `end` only the end tokens are
    computed.
    """
    attention: Any = layer.self_attn
    heads, p = attention.num_heads, prefix_key.shape[-2]
    normed = layer.layer_norm1(x)  # type: ignore[operator]
    key = _heads(attention.k_proj(normed), heads)  # [c, k, h, s, e], as the value
    value = _heads(attention.v_proj(normed), heads)
    if end is not None:
        every = torch.arange(len(end), device=x.device)
        x = x[:, every, end].unsqueeze(2)
        normed = normed[:, every, end].unsqueeze(2)
        mask = mask[end][:, None, None]
    query = _heads(attention.q_proj(normed), heads)
    query = query * query.shape[-1] ** -0.5
    c, k, h, s, e = query.shape
    # the classes' tokens in one row: one product with the prefix for all of them
    flat = query.transpose(1, 2).reshape(c, h, k * s, e)
    before = (flat @ prefix_key.transpose(-1, -2)).view(c, h, k, s, p).transpose(1, 2)
    own = (query @ key.transpose(-1, -2)).masked_fill(~mask, float("-inf"))
    # one softmax over both: they are the tokens of one sequence
    weights = torch.cat([before, own], -1).softmax(-1)
    to_prefix = weights[..., :p].transpose(1, 2).reshape(c, h, k * s, p)
    from_prefix = (to_prefix @ prefix_value).view(c, h, k, s, e).transpose(1, 2)
    mixed = from_prefix + weights[..., p:] @ value
    x = x + attention.out_proj(_merge(mixed))
    return x + layer.mlp(layer.layer_norm2(x))  # type: ignore[operator]
