"""A model for which texts are alike that share words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toys.modality import Hashing

FAMILY = "Toy"
NAME = "toy-words"


def claims(name: str) -> bool:
    """Is it the one model there is?"""
    return name == NAME


def preprocess_of(name: str) -> Hashing:
    """How it wants its texts."""
    return Hashing(256)


def operations(name: str) -> float:
    """Too few to count."""
    return 0.0


def load(name: str, device: torch.device, dtype: torch.dtype) -> ToyEncoder:
    """Open it."""
    return ToyEncoder(preprocess_of(name), device, dtype)


class ToyEncoder:
    """What methods without prompts ask of an encoder."""

    name = NAME
    family = FAMILY
    logit_scale = 10.0

    def __init__(
        self, preprocess: Hashing, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.preprocess = preprocess
        self.device = device
        self.dtype = dtype
        self.image_tower = nn.Identity()
        self.tokenizer = str.split

    def blank(self, count: int = 1) -> Tensor:
        """Texts without words."""
        return torch.zeros((count, self.preprocess.size), dtype=torch.int64)

    def normalise(self, counts: Tensor) -> Tensor:
        """Counts of words -> what `image_features` takes."""
        return counts.to(self.device, self.dtype)

    def image_features(self, counts: Tensor) -> Tensor:
        """[b, size] of length one; a little of everything, as no text may be zero."""
        return F.normalize(counts.float() + 0.01, dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """The same of class names in prompts."""
        counts = torch.stack([torch.from_numpy(self.preprocess(t)) for t in texts])
        return self.image_features(self.normalise(counts))
