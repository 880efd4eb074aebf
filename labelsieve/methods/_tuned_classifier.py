"""A classifier on the tower that DeFT tunes, with the same tuning, for the paper's baselines.

A linear layer on the image features, adapted as in `deft` (visual prompts by default), learns the
given labels with cross-entropy; a method decides which labels of a batch count. With
`tuning=features` the layer learns on cached features.

Shapes: b images, n images in all, k classes, d width of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.augment import crop_and_mirror, views
from labelsieve.data.batches import batches
from labelsieve.features.task import Task
from labelsieve.methods._evidence import KnownRate
from labelsieve.models import adapters
from labelsieve.settings import AtLeast, OneOf
from labelsieve.training import losses
from labelsieve.training.distributed import across
from labelsieve.training.loop import Batch, Problem, Recipe, fit

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
class Training(KnownRate):
    """As `deft` trains; preset `paper` is DeFT's setting for its baselines (10 epochs)."""

    # a name of labelsieve.models.adapters.KINDS, or "features"
    tuning: Annotated[str, OneOf((*adapters.KINDS, "features"))] = "vpt-deep"
    # visual prompts a block, rank or width; auto: a quarter of the image's tokens, at most 20
    tuning_size: Annotated[int | None, AtLeast(1)] = None
    epochs: Annotated[int, AtLeast(0)] = 6
    warmup_epochs: Annotated[int, AtLeast(0)] = 1  # epochs that trust every label
    optimizer: Literal["adamw", "sgd"] = "adamw"
    image_lr: Annotated[float, AtLeast(0)] = 5e-3
    head_lr: Annotated[float, AtLeast(0)] = 2e-3
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: Annotated[int, AtLeast(1)] = 64
    accumulate: Annotated[int, AtLeast(1)] = 1
    # judged are whole pictures, as published, or four crops into the corners, as in `deft`
    views: Literal[1, 4] = 1
    mirror: bool = True  # augmentation and views mirror pictures

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
    """logits = scale · (f Wᵀ + b) of adapted features f [b, d]; W and b start at zero.

    The scale is the model's own.
    """

    def __init__(self, task: Task, settings: Training) -> None:
        self.task = task
        self.data = task.data
        self.encoder = task.encoder
        self.settings = settings
        # of the tower as it is, before adapters are put into it
        self.frozen = task.image_features()
        width, k = self.frozen.shape[1], len(self.data.classes)
        self.weight = nn.Parameter(torch.zeros(k, width, device=self.encoder.device))
        # zero: before training every class is as likely as any other
        self.bias = nn.Parameter(torch.zeros(k, device=self.encoder.device))
        self.tuned = adapters.Tuning()
        if settings.tuning != "features":
            size = settings.tuning_size or adapters.fitting_size(self.encoder)
            generator = torch.Generator().manual_seed(task.seed)
            self.tuned = adapters.build(settings.tuning, self.encoder, size, generator)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that learns."""
        return {"weight": self.weight, "bias": self.bias, **self.tuned.parameters}

    def load(self, rows: np.ndarray) -> Tensor:
        """Raw pixels [b, 3, h, w], or features [b, d] with `tuning=features`."""
        if self.settings.tuning == "features":
            return torch.from_numpy(np.asarray(self.frozen[rows], dtype=np.float32))
        return self.data.inputs(rows)

    def logits(
        self, loaded: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """[b, k] float32 of what `load` gives.

        Args:
            generator: for one random crop; None: the mean over the setting's views.
        """
        if self.settings.tuning == "features":
            return self._of_features(loaded.to(self.encoder.device))
        mirror = self.settings.mirror
        pictures = self.encoder.normalise(loaded)
        if generator is not None:
            return self._of_pictures(
                crop_and_mirror(pictures, generator, mirror=mirror)
            )
        seen = views(pictures, self.settings.views, mirror)
        return torch.stack([self._of_pictures(view) for view in seen]).mean(0)

    def _of_pictures(self, pictures: Tensor) -> Tensor:
        prompts = self.tuned.tokens()
        features = across(lambda p: self.encoder.image_features(p, prompts), pictures)
        return self._of_features(features)

    def _of_features(self, features: Tensor) -> Tensor:
        return self.encoder.logit_scale * (features @ self.weight.T + self.bias)

    @torch.no_grad()
    def judge(self, batch_size: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Losses [n] float64 of given labels and probabilities [n, k] float32, without chance."""
        n = len(self.data)
        each = np.empty(n)
        probs = np.empty((n, len(self.weight)), dtype=np.float32)
        labels = torch.from_numpy(self.data.labels).to(self.encoder.device)
        for rows in batches(n, batch_size, "Scoring", unit=f"{self.data.noun}s"):
            logits = self.logits(self.load(rows))
            # differences of float32 losses are what a ranking is made of: none are rounded away
            loss = losses.cross_entropy(logits, labels[rows]).double()
            each[rows] = loss.cpu().numpy()
            probs[rows] = logits.softmax(1).cpu().numpy()
        return each, probs

    def train(
        self,
        name: str,
        keep: Callable[[Batch, Tensor], Tensor],
        memory: dict[str, Tensor] | None = None,
        after_epoch: Callable[[int], bool] | None = None,
    ) -> None:
        """Learn the given labels.

        Args:
            name: of the checkpoint.
            keep: batch and its losses [b] (detached) -> [b] bool, which of them count.
            memory, after_epoch: as in `labelsieve.training.loop.Problem`.
        """

        def loss_of(batch: Batch, loaded: Tensor) -> Tensor:
            each = self._losses(batch, loaded)
            # a batch of which nothing counts has no loss, and makes no step
            return losses.selected_mean(each, keep(batch, each.detach()))

        if memory is None:
            memory = {}
        # the layer starts at zero and the tower does not, so it has a rate of its own
        head_lr = self.settings.head_lr
        fit(
            Problem(
                self.parameters(),
                np.arange(len(self.data)),
                self.load,
                loss_of,
                rates={"weight": head_lr, "bias": head_lr},
                what="Training a classifier",
                unit=f"{self.data.noun}s",
                memory=memory,
                after_epoch=after_epoch,
            ),
            self.settings.recipe(),
            seed=self.task.seed,
            checkpoint=self.task.checkpoint(name),
        )

    def _losses(self, batch: Batch, loaded: Tensor) -> Tensor:
        """[b] of the given labels, on one random crop of each picture."""
        labels = torch.from_numpy(self.data.labels[batch.rows])
        logits = self.logits(loaded, batch.generator)
        return losses.cross_entropy(logits, labels.to(self.encoder.device))
