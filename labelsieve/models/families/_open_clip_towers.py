"""The towers of open_clip's models: what stands before, between and behind their blocks."""

from __future__ import annotations

import abc
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.models.families._open_clip_blocks import (
    Unsupported,
    of_open_clip,
    of_timm,
)

__all__ = ["ImageTower", "TextTower", "Unsupported", "image_tower", "slow_quick_gelu"]


def slow_quick_gelu() -> type[nn.Module]:
    """open_clip's own quick GELU, which `models.blocks` has a faster one for."""
    from open_clip.transformer import QuickGELU  # seconds: only where it is used

    return QuickGELU


class ImageTower(nn.Module, abc.ABC):
    """A vision transformer around blocks that were taken apart.

    Attributes:
        blocks: see `_open_clip_blocks`.
        width, tokens: of the sequence that the first block sees.
        patch: side of a patch in pixels.
        side: height and width of a picture in pixels.
        reads_class_token: whether the class token of the last block is all that is read.
    """

    blocks: nn.ModuleList
    width: int
    tokens: int
    patch: int
    side: tuple[int, int]
    reads_class_token: bool

    @abc.abstractmethod
    def before(self, pixels: Tensor) -> Tensor:
        """[b, 3, height, width] -> [b, n, d], the input of the first block."""

    @abc.abstractmethod
    def pooled(self, x: Tensor) -> Tensor:
        """Output of the last block, [b, n, d] or [b, 1, d] -> [b, d]."""

    @abc.abstractmethod
    def project(self, pooled: Tensor) -> Tensor:
        """[b, d] -> the common space."""


def image_tower(visual: Any) -> ImageTower:
    """An image tower of open_clip's.

    Raises:
        Unsupported: it is no plain vision transformer.
    """
    kind = type(visual).__name__
    if kind == "VisionTransformer":
        return _OpenClipTower(visual)
    trunk = type(visual.trunk).__name__ if kind == "TimmModel" else kind
    if trunk != "VisionTransformer":
        raise Unsupported(f"an image tower of type {trunk}")
    return _TimmTower(visual)


class _OpenClipTower(ImageTower):
    """open_clip's own vision transformer."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        if visual.attn_pool is not None or visual.pool_type == "none":
            raise Unsupported("an image tower that pools by attention")
        self.blocks = nn.ModuleList(map(of_open_clip, visual.transformer.resblocks))
        # the parts are ours now; the originals would be held, moved and hashed twice
        visual.transformer = nn.Identity()
        self.visual = visual
        self.tokens, self.width = visual.positional_embedding.shape
        self.patch = visual.patch_size[0]
        self.side = visual.image_size
        self.reads_class_token = visual.pool_type == "tok"

    def before(self, pixels: Tensor) -> Tensor:
        return self.visual._embeds(pixels)

    def pooled(self, x: Tensor) -> Tensor:
        return self.visual._pool(x)[0]

    def project(self, pooled: Tensor) -> Tensor:
        projection = self.visual.proj
        return pooled if projection is None else pooled @ projection


class _TimmTower(ImageTower):
    """A vision transformer of timm with open_clip's head behind it."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        trunk = visual.trunk
        self.blocks = nn.ModuleList(map(of_timm, trunk.blocks))
        trunk.blocks = nn.Identity()
        self.visual = visual
        self.width = trunk.embed_dim
        self.tokens = trunk.patch_embed.num_patches + trunk.num_prefix_tokens
        self.patch = trunk.patch_embed.patch_size[0]
        self.side = visual.image_size
        # with norms before and after pooling alike the class token is read on its own
        self.reads_class_token = trunk.global_pool == "token"

    def before(self, pixels: Tensor) -> Tensor:
        trunk: Any = self.visual.trunk
        x = trunk._pos_embed(trunk.patch_embed(pixels))
        return trunk.norm_pre(trunk.patch_drop(x))

    def pooled(self, x: Tensor) -> Tensor:
        trunk: Any = self.visual.trunk
        return trunk.forward_head(trunk.norm(x))

    def project(self, pooled: Tensor) -> Tensor:
        return self.visual.head(pooled)


class TextTower(nn.Module):
    """open_clip's own text transformer, whether it is a module or the model itself.

    Attributes:
        blocks: see `_open_clip_blocks`.
        positions: [longest text, d].
        causal: whether tokens see only what stands before them.
        reads_last: whether a text is read at the tower's last position, not at its end token.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        apart = hasattr(model, "text")
        text = model.text if apart else model
        pool = text.pool_type if apart else text.text_pool_type
        if getattr(text, "cls_emb", None) is not None or pool not in _READ:
            raise Unsupported("a text tower that is read at a class token")
        if getattr(text, "use_pad_mask", False):
            raise Unsupported("a text tower with a mask for padding")
        self.reads_last = pool == "last"
        self.causal = text.attn_mask is not None
        self.blocks = nn.ModuleList(map(of_open_clip, text.transformer.resblocks))
        self.embedding = text.token_embedding
        self.positions = text.positional_embedding
        self.norm = text.ln_final
        self.projection = _as_linear(text.text_projection)

    def read(self, states: Tensor) -> Tensor:
        """[..., d] of the last block where the text is read -> the common space."""
        return self.projection(self.norm(states))


_READ = ("argmax", "eos", "last")  # the first two are both the end token


def _as_linear(projection: Any) -> nn.Module:
    """The last map of a text tower, which is a module, a matrix or nothing."""
    if projection is None:
        return nn.Identity()
    if isinstance(projection, nn.Module):
        return projection
    inputs, outputs = projection.shape
    made = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)
    with torch.no_grad():
        made.weight.copy_(projection.T)
    return made
