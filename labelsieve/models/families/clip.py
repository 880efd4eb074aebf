"""CLIP checkpoints in transformers' layout: OpenAI, LAION, MetaCLIP, and the embedded one.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021. The class token is pooled; the text tower is causal and read at the first end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from labelsieve.errors import ModelError
from labelsieve.models.blocks import run_image_blocks, use_quick_gelu
from labelsieve.models.encoder import ClassTokens, DualEncoder
from labelsieve.models.families._shared_prefix import SharedPrefix
from labelsieve.models.families._transformers import (
    TransformersEncoder,
    is_of_type,
    operations,
    preprocess_of,
    read_model,
)

__all__ = ["FAMILY", "claims", "load", "operations", "preprocess_of"]

FAMILY = "CLIP"


def claims(name: str) -> bool:
    """Whether this is a checkpoint of the family."""
    return is_of_type(name, "clip")


def load(name: str, device: torch.device, dtype: torch.dtype) -> DualEncoder:
    """Load a checkpoint; its towers are frozen."""
    return ClipEncoder(name, read_model(name), device, dtype)


class ClipEncoder(TransformersEncoder, SharedPrefix):
    """A CLIP of transformers."""

    family = FAMILY
    causal = True

    def __init__(
        self, name: str, model: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        from transformers.activations import QuickGELUActivation

        super().__init__(name, model, device, dtype)
        use_quick_gelu([*self.image_layers, *self.text_layers], QuickGELUActivation)
        self.start = self.config.text_config.bos_token_id
        self.end = self.config.text_config.eos_token_id
        # configurations written before transformers 4.31 name the wrong ids (0, 1 and 2)
        if self.end == 2 and self.tokenizer is not None:
            self.start = self.tokenizer.bos_token_id
            self.end = self.tokenizer.eos_token_id

    def image_pooled(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        x = self.image_start(pixels)
        # of the last block only the class token is read, so the rest is left out
        x = run_image_blocks(self.image_layers, x, prompts, class_token_only=True)
        return self.pool_image(x)

    def image_start(self, pixels: Tensor) -> Tensor:
        tower: Any = self.image_tower
        return tower.pre_layrnorm(
            tower.embeddings(pixels)
        )  # transformers' own spelling

    def pool_image(self, x: Tensor) -> Tensor:
        return self.image_tower.post_layernorm(x[:, 0])

    def project_image(self, pooled: Tensor) -> Tensor:
        return self.model.visual_projection(pooled)

    def prompt_embeddings(
        self, contexts: Tensor, tokens: ClassTokens
    ) -> tuple[Tensor, Tensor]:
        c, k = len(contexts), len(tokens.ids)
        opening = torch.cat([self._start(c), contexts.to(self.dtype)], 1)
        own = self.embed_tokens(tokens.ids).expand(c, -1, -1, -1)
        every = opening[:, None].expand(-1, k, -1, -1)
        full = torch.cat([every, own], 2).flatten(0, 1)
        # to the full length, as the library does; what follows the end changes nothing
        missing = self.max_text - full.shape[1]
        padding = full.new_zeros(len(full), missing, full.shape[2])
        return torch.cat([full, padding], 1), (opening.shape[1] + tokens.end).repeat(c)

    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        # with a full stop, as CoOp ends its prompts
        rows = [self._need_tokenizer()(f"{name}.").input_ids for name in names]
        self._check_lengths([context_length + len(row) for row in rows], names)
        # without the start token, which stands before the context, and with the end token
        own = [torch.tensor(row[1 : self._end_of(row) + 1]) for row in rows]
        return self.from_ids(own)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self._need_tokenizer()(text).input_ids for text in texts]
        self._check_lengths([len(row) for row in rows], texts)
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        end = torch.tensor([self._end_of(row) for row in rows], device=self.device)
        return ids.to(self.device), end

    def _end_of(self, row: list[int]) -> int:
        """Position of the first end token; some tokenizers pad with it, too."""
        if self.end not in row[1:]:
            raise ModelError(
                f"The tokenizer of '{self.name}' ends no text with token {self.end}.",
                "Do its tokenizer and its config.json belong together?",
            )
        return row.index(self.end, 1)  # 0 is the start, which may be the same token

    def _start(self, count: int) -> Tensor:
        return self.embed_tokens(torch.full((count, 1), self.start))

    def _read(self, states: Tensor) -> Tensor:
        """Output of the last block at the end token -> the common space."""
        return self.model.text_projection(self.text_tower.final_layer_norm(states))
