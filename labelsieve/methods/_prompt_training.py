"""How dual prompts are trained: settings, what is built, when the warm-up ends, what is kept.

Some images are held out. After each epoch their given labels are compared with the model's answers:
accuracy on noisy labels is largest where accuracy on right ones is (Chen et al., AAAI 2021), so no
true labels are needed. It ends the warm-up, for good, and the best epoch is kept; the untouched
model is epoch 0, and where it is the best nothing that was trained is used.

Step sizes of Adam are shares of the size of what they change. The token vectors of OpenAI's
models are three times as small as those of our tiny ones, and a step of fixed size that suits
one destroys the other.

Shapes: b images, n images in all, k classes, d width of the common space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

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
from labelsieve.settings import Above, AtLeast, OneOf, Share
from labelsieve.training.loop import Batch, Problem, Recipe, fit

# Epochs by the reference classifier: classes whose names mean nothing to the model are learned
# from pictures alone, which takes longer.
EPOCHS = {"text": 6, "pictures": 12}
LEAST_STEPS = 100  # few images are seen more often; fewer steps do not leave the start
MOST_STEPS = 3_000  # many images are seen less often; 12 epochs of 16,000
HELD_OUT = 0.1  # share of the images whose noisy labels decide which epoch is kept,
LEAST_HELD_OUT = 100  # at least so many, but no more than a fifth of all,
MOST_HELD_OUT = 2_000  # at most: their accuracy then has a standard error of 1 %
LEAST_PER_CLASS = (
    10  # images; with fewer nothing can be held out, and nothing is trained
)
NEGATIVE_NOISE = 0.1  # by which negative contexts start away from positive ones
# Steps of Adam as shares of the root mean square of what is tuned, at its start. With the
# tower that they were chosen on they are steps of 2e-3 of contexts and residuals, 5e-3 of prompts.
CONTEXT_STEP = 0.04
RESIDUAL_STEP = 0.023  # of 1 / sqrt(width), as features of length one have it
PROMPT_STEP = 0.047
ZERO_STEP = 5e-3  # adapters that start at zero have no size of their own


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
    # epochs that trust every label, and the last epoch is kept; auto: until held-out noisy
    # accuracy stops rising, and the best epoch is kept
    warmup_epochs: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    # auto: by the size of what is tuned
    image_lr: Annotated[float | None, AtLeast(0)] = None
    text_lr: Annotated[float | None, AtLeast(0)] = None
    ramp: Annotated[float, Share()] = 0.1  # share of the steps in which rates rise
    clip: Annotated[float | None, Above(0)] = 1.0  # largest norm of the gradient
    momentum: Annotated[float, AtLeast(0)] = 0.9
    weight_decay: Annotated[float, AtLeast(0)] = 5e-4
    schedule: Literal["cosine", "smooth"] = "smooth"
    batch_size: Annotated[int, AtLeast(1)] = 64
    accumulate: Annotated[int, AtLeast(1)] = 1
    # "real": selected labels must also be the best class, and the warm-up uses SCE
    rule: Rule = "threshold"
    # augmentation and views mirror pictures; auto: unless that changes their classes
    mirror: bool | None = None

    def recipe(self, lr: float) -> Recipe:
        """How it is optimised; `lr` is that of the image side."""
        return Recipe(
            epochs=max(EPOCHS.values()) if self.epochs is None else self.epochs,
            batch_size=self.batch_size,
            lr=lr,
            optimizer=self.optimizer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            accumulate=self.accumulate,
            clip=self.clip,
            ramp=self.ramp,
        )


def fitting_epochs(n: int, k: int, batch_size: int, reference: str) -> int:
    """Epochs that make a sensible number of steps; 0 with too few images of k classes."""
    if n < LEAST_PER_CLASS * k:
        return 0
    steps = math.ceil(n / batch_size)
    least = math.ceil(LEAST_STEPS / steps)
    most = max(1, MOST_STEPS // steps)
    return min(max(EPOCHS[reference], least), most)


def rates_of(detector: Detector, settings: TrainingSettings) -> dict[str, float]:
    """The highest learning rate of each parameter, by name."""
    rates = {}
    for name, parameter in detector.parameters().items():
        text = name in detector.text_parameters()
        given = settings.text_lr if text else settings.image_lr
        rates[name] = _own_rate(name, parameter) if given is None else given
    return rates


def _own_rate(name: str, parameter: nn.Parameter) -> float:
    """A step that follows the size of what it changes."""
    if name == "residuals":
        # zero at the start; what they are added to is of length one
        return RESIDUAL_STEP / math.sqrt(parameter.shape[-1])
    size = float(parameter.detach().float().square().mean().sqrt())
    if name == "contexts":
        return CONTEXT_STEP * size
    return PROMPT_STEP * size if name == "visual_prompts" else ZERO_STEP


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
    detector = Detector(encoder, tokens, prompts, tuned, residuals=residuals)
    detector.origin = _origin(task, settings)
    return detector


def _origin(task: Task, settings: TrainingSettings) -> dict[str, Any]:
    """Model, classes and settings of a detector, as JSON."""
    encoder, data = task.encoder, task.data
    known = [field.name for field in fields(TrainingSettings)]
    return {
        "model": encoder.name,
        "device": encoder.device.type,
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "classes": list(data.classes),
        "names": list(data.names),
        "template": data.template,
        "settings": {name: getattr(settings, name) for name in known},
    }


def rebuilt(
    task: Task, settings: Mapping[str, Any], parameters: Mapping[str, Tensor]
) -> Detector:
    """A trained detector in another process, from its origin and its parameters."""
    # what begins at random is put in place of below
    detector = build(task, TrainingSettings(**settings), 0)
    with torch.no_grad():
        for name, parameter in detector.parameters().items():
            parameter.copy_(parameters[name])
    return detector


def _zeros(encoder: DualEncoder, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, device=encoder.device))


def features_for(task: Task, settings: TrainingSettings) -> np.ndarray | None:
    """What a detector with an adapter takes instead of pixels: frozen features [n, d]."""
    return task.image_features() if settings.tuning == "features" else None


@dataclass(frozen=True)
class Trained:
    """What a training has come to.

    p_clean: [n] float32 and selected: [n] bool, as each image was last seen in training.
    epoch: the one that is kept; 0 is the untouched model.
    accuracy: on held-out noisy labels, of the untouched model and after each epoch; empty where
        nothing was held out.
    """

    p_clean: Tensor
    selected: Tensor
    epoch: int
    accuracy: tuple[float, ...] = ()


def train(detector: Detector, task: Task, settings: TrainingSettings) -> Trained:
    """Train in place, and leave the detector with the weights of the epoch that is kept."""
    rates = rates_of(detector, settings)
    recipe = settings.recipe(max(rates.values(), default=0.0))
    training = _Training(detector, task, settings, recipe.epochs)
    fit(
        Problem(
            detector.parameters(),
            np.setdiff1d(np.arange(len(task.data)), training.held_out),
            training.load,
            training.loss_of,
            rates=rates,
            what="Training prompts",
            memory=training.memory,
            after_epoch=training.after_epoch,
        ),
        recipe,
        seed=task.seed,
        checkpoint=task.checkpoint("deft"),
    )
    return training.ended()


class _Training:
    """What the training loop calls, and what it keeps from step to step."""

    def __init__(
        self, detector: Detector, task: Task, settings: TrainingSettings, epochs: int
    ) -> None:
        self._detector = detector
        self._data = task.data
        self._settings = settings
        self._features = features_for(task, settings)
        self._labels = torch.from_numpy(task.data.labels)
        n, k = len(task.data), len(task.data.classes)
        self.held_out = np.empty(0, dtype=np.int64)
        if settings.warmup_epochs is None and n >= LEAST_PER_CLASS * k and epochs:
            self.held_out = held_out_rows(n, task.seed)
        # tensors, because they are saved and restored with the checkpoint
        self.memory = {
            "p_clean": torch.zeros(n),
            "selected": torch.zeros(n, dtype=torch.bool),
            "warm": torch.ones(1),
            "done": torch.zeros(1),
            # of the untouched model, then after each epoch
            "accuracy": torch.full((1 + epochs,), torch.nan),
        }
        if len(self.held_out):
            self.memory["accuracy"][0] = _untouched(task, self.held_out)
            for name, parameter in detector.parameters().items():
                self.memory[f"best {name}"] = parameter.detach().cpu().clone()

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
        # None is for the caller to decide; photographs may be mirrored
        mirror = self._settings.mirror is not False
        return crop_and_mirror(pictures, generator, mirror=mirror)

    def _is_warmup(self, epoch: int) -> bool:
        if self._settings.warmup_epochs is None:
            return bool(self.memory["warm"])
        return epoch < self._settings.warmup_epochs

    def after_epoch(self, epoch: int) -> bool:
        """Keep the best weights, and end the warm-up once held-out accuracy stops rising."""
        self.memory["done"][0] = epoch
        if len(self.held_out):
            accuracy = self.memory["accuracy"]
            accuracy[epoch] = self._accuracy()
            trained = accuracy[1 : epoch + 1].numpy()
            # of equally good epochs the first: later ones have memorised more labels
            if trained.argmax() == epoch - 1:
                for name, parameter in self._detector.parameters().items():
                    self.memory[f"best {name}"].copy_(parameter.detach())
            # for good: with selection accuracy may rise again, which is no reason to stop it
            if not still_rising(trained, len(self.held_out)):
                self.memory["warm"][0] = 0
        # training itself goes on
        return False

    @torch.no_grad()
    def ended(self) -> Trained:
        """Put back the weights of the epoch that is kept."""
        seen = self.memory["p_clean"], self.memory["selected"]
        if not len(self.held_out):
            return Trained(*seen, epoch=int(self.memory["done"]))
        for name, parameter in self._detector.parameters().items():
            parameter.copy_(self.memory[f"best {name}"])
        accuracy = self.memory["accuracy"].tolist()
        best = max(range(1, len(accuracy)), key=accuracy.__getitem__)
        # a model that has learned nothing is no second opinion
        kept = best if accuracy[best] >= accuracy[0] else 0
        return Trained(*seen, epoch=kept, accuracy=tuple(accuracy))

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


def _untouched(task: Task, rows: np.ndarray) -> float:
    """Share of held-out images whose given label is the untouched model's answer."""
    features = task.features.some(rows)
    answers = (features @ task.class_features().T).argmax(1)
    return float((answers == task.data.labels[rows]).mean())


def held_out_rows(n: int, seed: int) -> np.ndarray:
    """Rows [h] int64 that are not trained on, so that they can tell which epoch is best."""
    count = max(int(HELD_OUT * n), min(LEAST_HELD_OUT, n // 5))
    # another stream than those of training, which are seeded by (seed, epoch)
    rng = np.random.default_rng([seed, 1])
    return np.sort(rng.choice(n, min(MOST_HELD_OUT, count), replace=False))


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
