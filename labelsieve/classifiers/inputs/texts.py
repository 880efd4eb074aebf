"""Texts as classifiers that read are given them: windows of tokens, as a graph of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.data.text.reading import TextPreprocess, decode, read_bytes, text_bytes
from labelsieve.errors import ImageError
from labelsieve.models.text_encoder import Windows, padded

# Texts that an exported model is asked about where the user names none: of several lengths.
NOISE = (
    "one",
    "two words 2",
    "a third text, longer than the other ones: " + "x y " * 20,
)


@dataclass(frozen=True)
class Texts:
    """See `labelsieve.classifiers.backbone.Inputs`.

    Attributes:
        windows_of: texts [b] -> their windows.
        padding: id of the token that fills rows up.
    """

    preprocess: TextPreprocess
    windows_of: Callable[[Sequence[str]], Windows]
    padding: int
    modality = "texts"
    noun = "text"
    task = "text-classification"
    names = ("input_ids", "attention_mask")

    def ready(self, given: Sequence[str], device: torch.device) -> Windows:
        """Texts [b] as windows; they move to a device with the batches that they make."""
        return self.windows_of(list(given))

    def varied(
        self, ready: Windows, generator: torch.Generator, crop: float, mirror: bool
    ) -> Windows:
        """Texts as they are: a word less may be another meaning."""
        return ready

    def read(self, item: Any) -> str | None:
        """A text, its bytes, or a path to it; None: unreadable or empty."""
        try:
            data = read_bytes(item) if isinstance(item, Path) else text_bytes(item)
        except ImageError:
            return None
        # as much as data sets give: a megabyte takes no longer than what is read of it
        text = decode(data)[: self.preprocess.characters]
        return text if text.strip() else None

    def together(self, items: Sequence[str]) -> list[str]:
        """What `read` gave, as a list."""
        return list(items)

    def blank(self) -> list[str]:
        """One text that says little."""
        return ["a " * 20]

    def noise(self) -> list[str]:
        """Texts that mean nothing."""
        return list(NOISE)

    def tensors(self, ready: Windows) -> tuple[Tensor, ...]:
        """Ids and mask [b, t] of the first window of each text: what a graph takes."""
        # windows of a text come in their order
        first: dict[int, list[int]] = {}
        for ids, owner in zip(ready.ids, ready.owner.tolist(), strict=True):
            first.setdefault(owner, ids)
        return padded([first[row] for row in range(ready.count)], self.padding)

    def example(self, device: torch.device) -> tuple[Tensor, ...]:
        """Tensors to trace a graph with."""
        return self.tensors(self.ready(list(NOISE), device))

    def axes(self) -> dict[str, dict[int, Any]]:
        """Any number of texts of any length."""
        batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens")
        return {name: {0: batch, 1: tokens} for name in self.names}

    def graph(self, model: nn.Module) -> nn.Module:
        """Ids and mask [b, t] -> logits [b, k]."""
        return _Logits(model)


class _Logits(nn.Module):
    """One window per text -> logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model.of_tokens(input_ids, attention_mask)
        return logits
