"""A classifier on the tower that DeFT tunes, with the same tuning: what the paper's baselines train.

A linear layer on the image features, adapted as in `deft` (visual prompts by default), learns the given labels with
cross-entropy; a method decides which labels of a batch count. With `tuning=features` the layer learns on cached features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve import progress
from labelsieve.data.augment import crop_and_mirror, views
from labelsieve.data.dataset import Dataset
from labelsieve.errors import OptionError, unknown
from labelsieve.features.cached import image_features
from labelsieve.features.task import Workplace
from labelsieve.methods._evidence import need
from labelsieve.models import adapters as tuning
from labelsieve.models.encoder import DualEncoder
from labelsieve.training import losses
from labelsieve.training.loop import Batch, Recipe, fit

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"tuning": "features", "epochs": 15, "batch_size": 256},
    "paper": {
        "tuning_size": 20,
        "epochs": 10,
        "optimizer": "sgd",
        "image_lr": 0.03,
        "head_lr": 0.03,
        "schedule": "cosine",
    },
}


@dataclass(frozen=True)
class Training:
    """As `deft` trains; preset `paper` is DeFT's setting for its baselines (deep visual prompts, 10 epochs)."""

    tuning: str = (
        "vpt-deep"  # a name of labelsieve.models.adapters.KINDS, or "features"
    )
    tuning_size: int | None = None  # auto: a quarter of the image's tokens, at most 20
    epochs: int = 6
    warmup_epochs: int = 1  # epochs that trust every label
    optimizer: Literal["adamw", "sgd"] = "adamw"
    image_lr: float = 5e-3
    head_lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: int = 64
    accumulate: int = 1
    views: Literal[1, 4] = (
        1  # judged are whole pictures, as published, or four crops into the corners, as in `deft`
    )
    mirror: bool = True  # augmentation and views mirror pictures
    noise_rate: float | None = None  # known share of wrong labels

    def __post_init__(self) -> None:
        if self.tuning not in (*tuning.KINDS, "features"):
            raise OptionError(
                unknown("--tuning", self.tuning, (*tuning.KINDS, "features"))
            )
        need(self, head_lr=0, warmup_epochs=0)
        self.recipe()  # refuses numbers that cannot be

    def recipe(self) -> Recipe:
        """How it is optimised."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.image_lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            accumulate=self.accumulate,
        )


class Classifier:
    """logits = scale · (f · Wᵀ + b) of adapted image features f [b, d], with the model's own scale; W and b start at zero."""

    def __init__(
        self,
        images: Dataset,
        encoder: DualEncoder,
        settings: Training,
        seed: int,
    ) -> None:
        self.images, self.encoder, self.settings = images, encoder, settings
        self.frozen = image_features(
            images, encoder
        )  # of the untouched tower, before adapters are put into it
        width, k = self.frozen.shape[1], len(images.classes)
        self.weight = nn.Parameter(torch.zeros(k, width, device=encoder.device))
        self.bias = nn.Parameter(torch.zeros(k, device=encoder.device))
        self.tuned = tuning.Tuning()
        if settings.tuning != "features":
            size = settings.tuning_size or tuning.fitting_size(encoder)
            self.tuned = tuning.build(
                settings.tuning, encoder, size, torch.Generator().manual_seed(seed)
            )

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        return {"weight": self.weight, "bias": self.bias, **self.tuned.parameters}

    def load(self, rows: np.ndarray) -> Tensor:
        """Raw pixels [b, 3, h, w], or features [b, d] with `tuning=features`."""
        if self.settings.tuning == "features":
            return torch.from_numpy(np.asarray(self.frozen[rows], dtype=np.float32))
        return self.images.inputs(rows)

    def logits(
        self, loaded: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """[b, k] float32 of what `load` gave: of one random crop with a generator, else the mean over `views`."""
        if self.settings.tuning == "features":
            return self._of_features(loaded.to(self.encoder.device))
        pictures = self.encoder.normalise(loaded)
        if generator is not None:
            return self._of_pictures(
                crop_and_mirror(pictures, generator, mirror=self.settings.mirror)
            )
        seen = views(pictures, self.settings.views, self.settings.mirror)
        return torch.stack([self._of_pictures(view) for view in seen]).mean(0)

    def _of_pictures(self, pictures: Tensor) -> Tensor:
        return self._of_features(
            self.encoder.image_features(pictures, self.tuned.tokens())
        )

    def _of_features(self, features: Tensor) -> Tensor:
        return self.encoder.logit_scale * (features @ self.weight.T + self.bias)

    @torch.no_grad()
    def judge(self, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Losses [n] of the given labels and probabilities [n, k], without chance."""
        n = len(self.images)
        found, probs = np.empty(n), np.empty((n, len(self.weight)), dtype=np.float32)
        labels = torch.from_numpy(self.images.labels).to(self.encoder.device)
        with progress.bar("Scoring", n) as shown:
            for start in range(0, n, batch_size):
                rows = np.arange(start, min(start + batch_size, n))
                logits = self.logits(self.load(rows))
                found[rows] = (
                    losses.cross_entropy(logits, labels[rows]).double().cpu().numpy()
                )
                probs[rows] = logits.softmax(1).cpu().numpy()
                shown.advance(len(rows))
        return found, probs

    def train(
        self,
        run: Workplace,
        name: str,
        keep: Callable[[Batch, Tensor], Tensor],
        memory: dict[str, Tensor] | None = None,
        after_epoch: Callable[[int], bool] | None = None,
    ) -> None:
        """Learn the given labels.

        Args:
            name: of the checkpoint.
            keep: batch and its losses [b] (detached) -> [b] bool, which of them count.
            memory, after_epoch: as in `labelsieve.training.loop.fit`.
        """
        labels = torch.from_numpy(self.images.labels)

        def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
            each = losses.cross_entropy(
                self.logits(loaded, batch.generator),
                labels[batch.rows].to(self.encoder.device),
            )
            return losses.selected_mean(each, keep(batch, each.detach()))

        rates = {"weight": self.settings.head_lr, "bias": self.settings.head_lr}
        fit(
            self.parameters(),
            np.arange(len(self.images)),
            self.load,
            loss_of,
            self.settings.recipe(),
            seed=run.seed,
            rates=rates,
            what="Training a classifier",
            memory=memory,
            checkpoint=run.checkpoint(name),
            after_epoch=after_epoch,
        )
