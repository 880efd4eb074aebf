"""Towers that read: those of transformers, and plain tables of token vectors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from labelsieve.models import hugging_face


class StaticTower(nn.Module):
    """Token vectors that nothing follows: pooled, they are the mean of a text's words.

    Args:
        vectors: [tokens, d].
    """

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(vectors)
        self.config = SimpleNamespace(num_hidden_layers=1)

    def get_input_embeddings(self) -> nn.Embedding:
        """As transformers calls them."""
        return self.embedding

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """[w, t, d] as they are."""
        return SimpleNamespace(last_hidden_state=inputs_embeds)


def read_tower(name: str) -> Any:
    """The encoder of a checkpoint of transformers, float32 on the CPU, without any head."""
    # takes seconds: only where a model is loaded
    from transformers import AutoModel, AutoModelForTextEncoding

    config = hugging_face.read_config(name)
    # of two towers, the one that reads
    both = bool(getattr(config, "is_encoder_decoder", False))
    kind = AutoModelForTextEncoding if both else AutoModel
    model = hugging_face.read_model(name, kind, config, body_only=True)
    # what pre-training pooled with, which many checkpoints lack: it would be drawn at random
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model
