"""Words: short texts as the counts of their hashed words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from labelsieve.cache import cache_folder
from labelsieve.data.modalities import Item
from labelsieve.data.sources import Row, Source


@dataclass(frozen=True)
class Hashing:
    """How texts are prepared for a model."""

    size: int

    def __call__(self, text: str) -> np.ndarray:
        """Text -> int64 [size], how often words of each hash occur."""
        counts = np.zeros(self.size, np.int64)
        for word in text.split():
            digest = hashlib.sha256(word.encode()).digest()
            counts[int.from_bytes(digest[:4], "big") % self.size] += 1
        return counts

    def to_json(self) -> str:
        """Names it in the cache of features."""
        return json.dumps(asdict(self))


def open_items(preprocess: Hashing) -> WordItems:
    """Texts for models with this preprocessing."""
    return WordItems(preprocess)


def restore(stored: dict[str, Any]) -> Hashing:
    """A preprocessing that a run noted down."""
    return Hashing(**stored)


@dataclass
class WordItems:
    """Texts as vectors, kept in memory."""

    preprocess: Hashing
    version: str = "words 1"
    kept: list[np.ndarray] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where they would lie."""
        return cache_folder() / "words"

    def read(self, rows: Sequence[Row]) -> list[Item]:
        """An empty text cannot be used."""
        items = []
        for row in rows:
            digest = hashlib.sha256(str(row.image).encode()).hexdigest()
            if row.image:
                items.append(Item(row, digest, prepared=self.preprocess(row.image)))
            else:
                items.append(Item(row, digest, reason="an empty text"))
        return items

    def store(self, items: Sequence[Item]) -> dict[str, int]:
        """Texts in the order in which they come."""
        slots = {}
        for item in items:
            if item.prepared is not None:
                slots[item.content_hash] = len(self.kept)
                self.kept.append(item.prepared)
        return slots

    def settle(self, source: Source, items: Sequence[Item]) -> list[Item]:
        """No text has to wait for others."""
        return list(items)

    def remember(self, source: Source, manifest: pa.Table) -> None:
        """What is kept in memory is not lost."""

    def inputs(self, slots: np.ndarray) -> Tensor:
        """int64 [b, size]."""
        return torch.from_numpy(np.stack([self.kept[slot] for slot in slots]))

    def notes(self, slots: np.ndarray) -> list[str]:
        """How many there are."""
        return [f"{len(slots)} texts are read word by word"]
