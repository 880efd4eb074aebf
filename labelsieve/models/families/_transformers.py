"""What CLIP and SigLIP checkpoints of transformers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models import blocks, hugging_face, trust
from labelsieve.models.encoder import DualEncoder


def is_of_type(name: str, model_type: str) -> bool:
    """Whether a checkpoint's configuration names this type of model."""
    return str(hugging_face.read_config(name).model_type) == model_type


def preprocess_of(name: str) -> Preprocess:
    """How a checkpoint wants its pictures; its weights are not read."""
    size = hugging_face.read_config(name).vision_config.image_size
    processor = hugging_face.image_processor(name)
    return hugging_face.preprocess_with(name, processor, size)


def operations(name: str) -> float:
    """Floating-point operations of one picture in the image tower."""
    tower = hugging_face.read_config(name).vision_config
    tokens = (tower.image_size // tower.patch_size) ** 2 + 1
    return blocks.operations(tokens, tower.hidden_size, tower.num_hidden_layers)


def read_model(name: str) -> Any:
    """The checkpoint as a model of transformers, float32 on the CPU."""
    from transformers import AutoModel  # takes seconds: only where a model is loaded

    config = hugging_face.read_config(name)
    return hugging_face.read_model(name, AutoModel, config)


def check_lengths(
    name: str, longest: int, lengths: Sequence[int], texts: Sequence[str]
) -> None:
    """Refuse prompts that a text tower cannot take.

    Raises:
        ModelError: names the longest text alone, so that one message says all.
    """
    worst = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[worst] > longest:
        raise ModelError(
            f"'{texts[worst][:60]}' makes a prompt of {lengths[worst]} tokens; "
            f"the text tower of '{name}' takes {longest}.",
            "Shorten the class name with --class-names, or set a shorter context "
            "(--set context_length=4).",
        )


class TransformersEncoder(DualEncoder):
    """Loading and the text side; the towers are the checkpoint's own modules."""

    def __init__(
        self, name: str, model: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config: Any = model.config
        self.model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.name = name
        self.device = device
        self.dtype = dtype
        processor = hugging_face.image_processor(name)
        size = self.config.vision_config.image_size
        self.preprocess = hugging_face.preprocess_with(name, processor, size)
        self.tokenizer = hugging_face.tokenizer(name)
        # checkpoints hold its logarithm
        self.logit_scale = float(self.model.logit_scale.float().exp())
        self._set_image_side()
        self._set_text_side()

    def _set_image_side(self) -> None:
        tower = self.model.vision_model
        self.image_tower: Any = tower
        self.image_layers = tower.encoder.layers
        self.image_width = self.config.vision_config.hidden_size
        self.patch_size = self.config.vision_config.patch_size
        # one position each; CLIP's class token has one, too
        self.image_tokens = tower.embeddings.position_embedding.num_embeddings

    def _set_text_side(self) -> None:
        tower = self.model.text_model
        self.text_tower: Any = tower
        self.text_layers = tower.encoder.layers
        self.text_width = self.config.text_config.hidden_size
        self.text_depth = len(self.text_layers)
        self.max_text = self.config.text_config.max_position_embeddings
        rows = tower.embeddings.token_embedding.num_embeddings
        trust.check_words(self.name, self.tokenizer, rows)

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
        check_lengths(self.name, self.max_text, lengths, texts)

    def _need_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ModelError(
                f"Model '{self.name}' has no tokenizer files.",
                "Add tokenizer.json beside its config.json.",
            )
        return self.tokenizer
