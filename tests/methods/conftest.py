"""A model whose features are pixels and whose class texts are patterns: errors can be planted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelsieve.data.dataset import Dataset
from labelsieve.data.images import Preprocess
from labelsieve.features.task import Task
from labelsieve.models.encoder import ClassTokens, DualEncoder

NAMES = ("apple", "boat", "crow", "drum")
SIDE = 4
WIDTH = 3 * SIDE * SIDE


class PatternEncoder(DualEncoder):
    """Image features are the pixels; a text is the sum of its words; only class names matter."""

    family, causal, tokenizer = "patterns", False, None

    def __init__(
        self,
        prototypes: np.ndarray,
        names: Sequence[str] = NAMES,
        logit_scale: float = 50.0,
    ) -> None:
        self.name, self.logit_scale = "patterns", logit_scale
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.preprocess = Preprocess(
            SIDE, SIDE, None, 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        )
        self.image_width, self.text_width, self.text_depth, self.image_tokens = (
            WIDTH,
            WIDTH,
            1,
            4,
        )
        self.max_text, self.patch_size = 24, 2
        self.words = {name: number + 1 for number, name in enumerate(names)}
        self.image_tower = nn.Module()
        self.image_layers = [nn.Identity()]
        words = torch.cat(
            [torch.full((1, WIDTH), 0.02), torch.from_numpy(prototypes).float()]
        )
        self.image_tower.register_buffer("words", words)

    def image_pooled(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        pooled = pixels.flatten(1)
        return pooled if prompts is None else pooled + sum(p.sum(0) for p in prompts)

    def project_image(self, pooled: Tensor) -> Tensor:
        return pooled

    def encode_texts(self, embeddings: Tensor, end: Tensor) -> Tensor:
        inside = torch.arange(embeddings.shape[1])[None] < end[:, None]
        return (embeddings * inside[:, :, None]).sum(1)

    def encode_after_prefix(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        raise NotImplementedError  # the text tower is not causal

    def embed_tokens(self, ids: Tensor) -> Tensor:
        return self.image_tower.words[ids]

    def prompt_embeddings(
        self, contexts: Tensor, tokens: ClassTokens
    ) -> tuple[Tensor, Tensor]:
        c, k = len(contexts), len(tokens.ids)
        own = self.embed_tokens(tokens.ids).expand(c, -1, -1, -1)
        full = torch.cat([contexts[:, None].expand(-1, k, -1, -1), own], 2).flatten(
            0, 1
        )
        return full, (contexts.shape[1] + tokens.end).repeat(c)

    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        return ClassTokens(*self.tokenize([f"{name}." for name in names]))

    def word_ids(self, text: str) -> Tensor:
        return torch.tensor([self.words.get(w, 0) for w in re.findall(r"\w+", text)])

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self.word_ids(text) for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return ids, torch.tensor([len(row) for row in rows])


@dataclass(frozen=True)
class Planted:
    """Images of patterns with wrong labels among them; everything in the order of `images`."""

    task: Task
    truth: np.ndarray  # [n]
    wrong: np.ndarray  # [n] bool

    @property
    def images(self) -> Dataset:
        return self.task.data

    @property
    def encoder(self) -> Any:
        return self.task.encoder

    def elsewhere(self, folder: Path) -> Planted:
        """The same in another run folder: checkpoints of this one are not there."""
        return replace(self, task=replace(self.task, folder=folder))

    def speaking(self, encoder: DualEncoder, fingerprint: str) -> Planted:
        """The same with another model."""
        task = replace(self.task, encoder=encoder, fingerprint=fingerprint)
        return replace(self, task=task)

    def detect(self, method: Any, **settings: Any) -> Any:
        return method.detect(self.task, method.Settings(**settings))

    def with_scale(self, scale: float) -> Planted:
        encoder = PatternEncoder(
            self.encoder.image_tower.words[1:].numpy(), logit_scale=scale
        )
        return self.speaking(encoder, f"scale {scale}")

    def with_names_that_say_nothing(self) -> Planted:
        """The same pictures and labels; what the class names mean to the model lies elsewhere."""
        k, width = self.encoder.image_tower.words[1:].shape
        encoder = PatternEncoder(
            np.random.default_rng(1).standard_normal((k, width)) / width**0.5
        )
        return self.speaking(encoder, "mute")

    def auroc(self, p_clean: np.ndarray) -> float:
        """Share of (wrong, right) pairs where the wrong one is more suspicious; ties count half."""
        difference = p_clean[~self.wrong][None] - p_clean[self.wrong][:, None]
        return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@pytest.fixture
def plant(labelled: Callable[..., Any], tmp_path: Path) -> Callable[..., Planted]:
    """Make patterns of k classes, n images each, a share of them labelled as another class."""
    folders = []

    def make(
        each: Any = 30,
        rate: float = 0.2,
        noise: float = 14.0,
        k: int = 4,
        seed: int = 0,
    ) -> Planted:
        rng = np.random.default_rng(seed)
        bases = rng.integers(50, 205, (k, SIDE, SIDE, 3))
        truth = np.repeat(
            np.arange(k), each
        )  # `each` is one number of images, or one for every class
        pictures = (
            (bases[truth] + noise * rng.standard_normal((len(truth), SIDE, SIDE, 3)))
            .clip(0, 255)
            .astype(np.uint8)
        )
        wrong = np.zeros(len(truth), dtype=bool)
        wrong[rng.choice(len(truth), round(rate * len(truth)), replace=False)] = True
        given = np.where(wrong, (truth + rng.integers(1, k, len(truth))) % k, truth)
        prototypes = (bases / 127.5 - 1).transpose(0, 3, 1, 2).reshape(k, -1)
        prototypes = prototypes / np.linalg.norm(
            prototypes, axis=1, keepdims=True
        ) + 0.05 * rng.standard_normal((k, WIDTH))
        encoder = PatternEncoder(prototypes, NAMES[:k])
        images = labelled(encoder.preprocess, pictures, [NAMES[y] for y in given])
        rows = np.array(
            [
                int(i.partition("#")[0].removeprefix("row"))
                for i in images.ids.to_pylist()
            ]
        )
        assert [images.classes[y] for y in images.labels] == [
            NAMES[y] for y in given[rows]
        ]
        folders.append(None)
        folder = tmp_path / f"run{len(folders)}"
        task = Task(images, encoder, 0, folder, "planted")
        return Planted(task, truth[rows], wrong[rows])

    return make
