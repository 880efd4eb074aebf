"""How dual prompts are trained: settings, what is built, and the warm-up that ends by itself.

Shapes: b images, n images in all, k classes, d width of the common space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.augment import crop_and_mirror
from labelsieve.features.task import Task
from labelsieve.methods._dual_prompts import (
    Detector,
    Rule,
    complementary_labels,
    pictures_of,
)
from labelsieve.methods._evidence import KnownRate
from labelsieve.models import adapters
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.prompts import DualPrompts
from labelsieve.settings import AtLeast, OneOf
from labelsieve.training.loop import Batch, Problem, Recipe, fit

# Epochs by the reference classifier: classes whose names mean nothing to the model are learned
# from pictures alone, which takes longer.
EPOCHS = {"text": 6, "pictures": 12}
HELD_OUT = 0.1  # share of the images whose noisy labels decide when the warm-up ends,
MOST_HELD_OUT = 2_000  # at most: their accuracy then has a standard error of 1 %
LEAST_PER_CLASS = 10  # images; with fewer nothing is held out and the warm-up is all
NEGATIVE_NOISE = 0.1  # by which negative contexts start away from positive ones


@dataclass(frozen=True)
class TrainingSettings(KnownRate):
    """See the docstring of `deft` for where these come from."""

    # how the image side adapts: a name of labelsieve.models.adapters.KINDS, or "features"
    tuning: Annotated[str, OneOf((*adapters.KINDS, "features"))] = "vpt-deep"
    # visual prompts a block, rank or width; auto: a quarter of the tokens, at most 20
    tuning_size: Annotated[int | None, AtLeast(1)] = None
    # context vectors before each class name, where they start at random
    context_length: Annotated[int, AtLeast(1)] = 16
    context_start: Literal["template", "random"] = "template"
    # prompt features get a learned vector per class; auto: where a probe is the reference
    residuals: bool | None = None
    epochs: Annotated[int | None, AtLeast(0)] = None  # auto: `EPOCHS` of the reference
    # epochs that trust every label; auto: until held-out noisy accuracy stops rising
    warmup_epochs: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    image_lr: Annotated[float, AtLeast(0)] = 5e-3
    text_lr: Annotated[float, AtLeast(0)] = 2e-3
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: Annotated[int, AtLeast(1)] = 64
    accumulate: Annotated[int, AtLeast(1)] = 1
    # "real": selected labels must also be the best class, and the warm-up uses SCE
    rule: Rule = "threshold"
    mirror: bool = True  # augmentation and views mirror pictures

    def recipe(self) -> Recipe:
        """How it is optimised."""
        epochs = max(EPOCHS.values()) if self.epochs is None else self.epochs
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            lr=self.image_lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            accumulate=self.accumulate,
        )


def build(task: Task, settings: TrainingSettings, seed: int) -> Detector:
    """A detector before training; adapters other than prompts go into the encoder's tower."""
    encoder, data = task.encoder, task.data
    # one generator for everything that starts at random, in this order
    generator = torch.Generator().manual_seed(seed)
    template = data.template if settings.context_start == "template" else None
    prompts = DualPrompts.start(
        encoder, template, settings.context_length, NEGATIVE_NOISE, generator
    )
    tokens = encoder.class_tokens(data.names, prompts.length)
    # no encoder says how wide its features are, one text does
    width = encoder.text_features(["a"]).shape[1]
    residuals = None
    if settings.residuals:
        residuals = _zeros(encoder, 2, len(data.classes), width)
    if settings.tuning == "features":
        adapter = _zeros(encoder, width, width)
        tuned = adapters.Tuning()
        return Detector(encoder, tokens, prompts, tuned, adapter, residuals)
    size = settings.tuning_size or adapters.fitting_size(encoder)
    tuned = adapters.build(settings.tuning, encoder, size, generator)
    return Detector(encoder, tokens, prompts, tuned, residuals=residuals)


def _zeros(encoder: DualEncoder, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, device=encoder.device))


def features_for(task: Task, settings: TrainingSettings) -> np.ndarray | None:
    """What a detector with an adapter takes instead of pixels: frozen features [n, d]."""
    return task.image_features() if settings.tuning == "features" else None


def train(
    detector: Detector, task: Task, settings: TrainingSettings
) -> dict[str, Tensor]:
    """Train in place.

    Returns:
        What was last seen of each image: "p_clean" [n] float32 and "selected" [n] bool.
    """
    training = _Training(detector, task, settings)
    fit(
        Problem(
            detector.parameters(),
            np.setdiff1d(np.arange(len(task.data)), training.held_out),
            training.load,
            training.loss_of,
            rates=dict.fromkeys(detector.text_parameters(), settings.text_lr),
            what="Training prompts",
            memory=training.memory,
            after_epoch=training.after_epoch,
        ),
        settings.recipe(),
        seed=task.seed,
        checkpoint=task.checkpoint("deft"),
    )
    return training.memory


class _Training:
    """What the training loop calls, and what it keeps from step to step."""

    def __init__(
        self, detector: Detector, task: Task, settings: TrainingSettings
    ) -> None:
        self._detector = detector
        self._data = task.data
        self._settings = settings
        self._features = features_for(task, settings)
        self._labels = torch.from_numpy(task.data.labels)
        n, k = len(task.data), len(task.data.classes)
        self.held_out = np.empty(0, dtype=np.int64)
        if settings.warmup_epochs is None and n >= LEAST_PER_CLASS * k:
            self.held_out = held_out_rows(n, task.seed)
        # tensors, because they are saved and restored with the checkpoint
        self.memory = {
            "p_clean": torch.zeros(n),
            "selected": torch.zeros(n, dtype=torch.bool),
            "warm": torch.ones(1),
            "accuracy": torch.zeros(settings.recipe().epochs),
        }

    def load(self, rows: np.ndarray) -> Tensor:
        """Raw pixels or frozen features of a batch."""
        if self._features is None:
            return self._data.inputs(rows)
        return torch.from_numpy(np.asarray(self._features[rows], dtype=np.float32))

    def loss_of(self, batch: Batch, loaded: Tensor) -> Tensor:
        """The loss of a batch; remembers what was seen of its images."""
        device = self._detector.encoder.device
        labels = self._labels[batch.rows]
        # drawn before the augmentation: the order of draws decides every score
        others = complementary_labels(labels, len(self._data.classes), batch.generator)
        step = self._detector.step(
            self._augmented(loaded, batch.generator),
            labels.to(device),
            others.to(device),
            selecting=not self._is_warmup(batch.epoch),
            rule=self._settings.rule,
        )
        self.memory["p_clean"][batch.rows] = step.p_clean.cpu()
        self.memory["selected"][batch.rows] = step.selected.cpu()
        return step.loss

    def _augmented(self, loaded: Tensor, generator: torch.Generator) -> Tensor:
        encoder = self._detector.encoder
        if self._features is not None:
            return loaded.to(encoder.device)
        pictures = encoder.normalise(loaded)
        return crop_and_mirror(pictures, generator, mirror=self._settings.mirror)

    def _is_warmup(self, epoch: int) -> bool:
        if self._settings.warmup_epochs is None:
            return bool(self.memory["warm"])
        return epoch < self._settings.warmup_epochs

    def after_epoch(self, epoch: int) -> bool:
        """End the warm-up once held-out accuracy stops rising. Training itself goes on."""
        if len(self.held_out):
            accuracy = self.memory["accuracy"]
            accuracy[epoch - 1] = self._accuracy()
            rising = still_rising(accuracy[:epoch].numpy(), len(self.held_out))
            self.memory["warm"][0] = float(rising)
        return False

    @torch.no_grad()
    def _accuracy(self) -> float:
        """Share of held-out images whose given label is the best positive class."""
        detector, rows = self._detector, self.held_out
        text = detector.text_features()[0]
        answers = []
        # without a bar of its own: it is a moment between two epochs
        for part in np.array_split(rows, max(1, len(rows) // 256)):
            pictures = pictures_of(self._data, part, self._features, detector.encoder)
            logits = detector.image_features(pictures) @ text.T
            answers.append(logits.argmax(1).cpu().numpy())
        return float((np.concatenate(answers) == self._data.labels[rows]).mean())


def held_out_rows(n: int, seed: int) -> np.ndarray:
    """Rows [h] int64 that are not trained on, so that they can tell when the warm-up ends."""
    count = min(MOST_HELD_OUT, int(HELD_OUT * n))
    # another stream than those of training, which are seeded by (seed, epoch)
    return np.sort(np.random.default_rng([seed, 1]).choice(n, count, replace=False))


def still_rising(accuracies: np.ndarray, n: int) -> bool:
    """Whether held-out accuracy [epochs] rose in one of the last two epochs.

    By more than half its standard error on n images. Accuracy on noisy labels is largest where
    accuracy on right ones is (Chen et al., AAAI 2021), so no true labels are needed.
    """
    if len(accuracies) < 3:
        return True
    best = accuracies.max()
    error = float(np.sqrt(best * (1 - best) / n))
    return bool(accuracies[-2:].max() > accuracies[:-2].max() + 0.5 * error)
