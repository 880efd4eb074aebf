"""Pictures as image classifiers are given them: read, normalised, varied, as a graph of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.augment import crop_and_mirror
from labelsieve.data.images import Preprocess, decode, from_object, read_bytes
from labelsieve.errors import ImageError
from labelsieve.models import encoder

NOISE = 3  # pictures of noise that an exported model is asked about


@dataclass(frozen=True)
class Pictures:
    """See `labelsieve.classifiers.backbone.Inputs`."""

    preprocess: Preprocess
    modality = "images"
    noun = "image"
    task = "image-classification"
    names = ("pixel_values",)

    def ready(self, given: Tensor, device: torch.device) -> Tensor:
        """uint8 [b, 3, h, w] -> normalised float32, on a device."""
        return encoder.normalise(given, self.preprocess, device)

    def varied(
        self, ready: Tensor, generator: torch.Generator, crop: float, mirror: bool
    ) -> Tensor:
        """Random views of normalised pictures [b, 3, h, w]."""
        if crop < 1 or mirror:
            return crop_and_mirror(ready, generator, crop, mirror)
        return ready

    def read(self, item: Any) -> np.ndarray | None:
        """A path, encoded bytes, a picture or an array -> uint8 [h, w, 3]; None: unreadable."""
        try:
            encoded = isinstance(item, bytes | bytearray | memoryview | str | Path)
            picture = (
                decode(read_bytes(item), self.preprocess.about)
                if encoded
                else from_object(item)
            )
        except ImageError:
            return None
        return self.preprocess(picture)

    def together(self, items: Sequence[np.ndarray]) -> Tensor:
        """What `read` gave -> uint8 [b, 3, h, w]."""
        return torch.from_numpy(np.stack(items)).permute(0, 3, 1, 2)

    def blank(self) -> Tensor:
        """One gray picture."""
        side = self.preprocess
        return torch.full((1, 3, side.height, side.width), 128, dtype=torch.uint8)

    def noise(self) -> Tensor:
        """uint8 [b, 3, h, w] that mean nothing."""
        shape = (NOISE, 3, self.preprocess.height, self.preprocess.width)
        drawn = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return torch.from_numpy(drawn)

    def tensors(self, ready: Tensor) -> tuple[Tensor, ...]:
        """What a graph takes of what `ready` gave."""
        return (ready,)

    def example(self, device: torch.device) -> tuple[Tensor, ...]:
        """Tensors to trace a graph with: two rows, since one would be taken for a constant."""
        side = self.preprocess
        return (torch.zeros(2, 3, side.height, side.width, device=device),)

    def axes(self) -> dict[str, dict[int, Any]]:
        """Which axes of the graph's tensors have any size."""
        return {"pixel_values": {0: torch.export.Dim("batch")}}

    def graph(self, model: nn.Module) -> nn.Module:
        """The tensors -> logits [b, k], whatever the library answers with."""
        return _Logits(model)


class _Logits(nn.Module):
    """Normalised pixels -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        answer = self.model(pixel_values)
        # transformers wraps logits in an object of its own
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        return logits
