"""SigLIP checkpoints, and SigLIP 2 at a fixed resolution, in transformers' layout.

Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023; Tschannen et al.,
"SigLIP 2", 2025. Image tokens are pooled by attention; the text tower sees every token
both ways, padded to its full length, and is read at the last position. So prefixes cannot
be shared between classes and prompts are encoded whole. The bias of its sigmoid is the
same for every text and drops out of every softmax here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labelsieve.models.blocks import run_image_blocks, text_block
from labelsieve.models.encoder import ClassTokens, DualEncoder
from labelsieve.models.families._transformers import (
    TransformersEncoder,
    is_of_type,
    operations,
    preprocess_of,
    read_model,
)

__all__ = ["FAMILY", "claims", "load", "operations", "preprocess_of"]

FAMILY = "SigLIP (1 and 2, fixed resolution)"


def claims(name: str) -> bool:
    """Whether this is a checkpoint of the family."""
    return is_of_type(name, "siglip")


def load(name: str, device: torch.device, dtype: torch.dtype) -> DualEncoder:
    """Load a checkpoint; its towers are frozen."""
    return SiglipEncoder(name, read_model(name), device, dtype)


class SiglipEncoder(TransformersEncoder):
    """A SigLIP of transformers."""

    family = FAMILY
    causal = False

    def __init__(
        self, name: str, model: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(name, model, device, dtype)
        self.pad = self.config.text_config.pad_token_id
        if self.tokenizer is not None:
            self.pad = self.tokenizer.pad_token_id

    def image_pooled(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        x = self.image_start(pixels)
        # the pooling looks at all tokens, so all of them are computed
        x = run_image_blocks(self.image_layers, x, prompts, class_token_only=False)
        return self.pool_image(x)

    def image_start(self, pixels: Tensor) -> Tensor:
        return self.image_tower.embeddings(pixels)

    def pool_image(self, x: Tensor) -> Tensor:
        tower: Any = self.image_tower
        return tower.head(tower.post_layernorm(x))

    def project_image(self, pooled: Tensor) -> Tensor:
        return pooled  # the attention pooling ends in the common space

    def encode_texts(self, embeddings: Tensor, end: Tensor) -> Tensor:
        x = embeddings.to(self.dtype) + self._positions(0, embeddings.shape[1])
        for layer in self.text_layers:
            x = text_block(layer, x, None)
        read = x[torch.arange(len(x), device=x.device), end]
        return self.text_tower.head(self.text_tower.final_layer_norm(read))

    def encode_after_prefix(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        # what follows changes a prefix here
        return self.plain_prompts(contexts, tokens)

    def prompt_embeddings(
        self, contexts: Tensor, tokens: ClassTokens
    ) -> tuple[Tensor, Tensor]:
        c, k = len(contexts), len(tokens.ids)
        # padding counts: the tower looks at it, as it did in pre-training
        missing = self.max_text - contexts.shape[1] - tokens.ids.shape[1]
        padded = torch.nn.functional.pad(tokens.ids, (0, missing), value=self.pad)
        own = self.embed_tokens(padded)
        opening = contexts.to(self.dtype)[:, None].expand(-1, k, -1, -1)
        full = torch.cat([opening, own.expand(c, -1, -1, -1)], 2).flatten(0, 1)
        return full, torch.full((c * k,), self.max_text - 1, device=self.device)

    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        rows = [self._need_tokenizer()(f"{name}.").input_ids for name in names]
        self._check_lengths([context_length + len(row) for row in rows], names)
        ids = torch.full((len(rows), max(map(len, rows))), self.pad)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        end = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        return ClassTokens(ids.to(self.device), end)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        options = {
            "padding": "max_length",
            "truncation": True,
            "max_length": self.max_text,
            "return_tensors": "pt",
        }
        ids = self._need_tokenizer()(list(texts), **options).input_ids
        # read at the last position, whatever stands there
        end = torch.full((len(texts),), self.max_text - 1, device=self.device)
        return ids.to(self.device), end
