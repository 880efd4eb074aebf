"""What CLIP and SigLIP checkpoints of transformers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import image_processor


class TransformersEncoder(DualEncoder):
    """Loading and the text side that both families share; the towers are the checkpoint's own modules."""

    def __init__(
        self,
        where: str,
        config: Any,
        model: Any,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        vision, text = config.vision_config, config.text_config
        model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.name, self.device, self.dtype = where, device, dtype
        self.model: Any = model
        self.image_tower: Any = self.model.vision_model
        self.text_tower: Any = self.model.text_model
        self.image_layers, self.text_layers = (
            self.image_tower.encoder.layers,
            self.text_tower.encoder.layers,
        )
        self.image_width, self.text_width = vision.hidden_size, text.hidden_size
        self.patch_size = vision.patch_size
        self.image_tokens = (
            self.image_tower.embeddings.position_embedding.num_embeddings
        )
        self.text_depth = len(self.text_layers)
        self.max_text = text.max_position_embeddings
        self.preprocess = Preprocess.from_processor(
            image_processor(where), vision.image_size
        )
        self.tokenizer = _tokenizer(where)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        return self.text_tower.embeddings.token_embedding(ids.to(self.device))

    def word_ids(self, text: str) -> Tensor:
        return torch.tensor(
            self._need_tokenizer()(text, add_special_tokens=False).input_ids,
            device=self.device,
        )

    def _positions(self, start: int, stop: int) -> Tensor:
        return self.text_tower.embeddings.position_embedding.weight[start:stop]

    def _check_lengths(self, lengths: Sequence[int], texts: Sequence[str]) -> None:
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        if lengths[longest] > self.max_text:
            raise ModelError(
                f"'{texts[longest][:60]}' makes a prompt of {lengths[longest]} tokens; the text tower of '{self.name}' takes {self.max_text}.",
                "Shorten the class name with --class-names, or set a shorter context (--set context_length=4).",
            )

    def _need_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ModelError(
                f"Model '{self.name}' has no tokenizer files.",
                "Add tokenizer.json beside its config.json.",
            )
        return self.tokenizer


def _tokenizer(where: str) -> Any:
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError):
        return None
    # Where the files are missing transformers may make up one that knows no words.
    return None if set(found.get_vocab()) <= set(found.all_special_tokens) else found
