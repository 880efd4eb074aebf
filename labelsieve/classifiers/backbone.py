"""What is fine-tuned: a model of some library with a new linear head.

Which libraries there are is decided in `labelsieve.classifiers.backbones`, one file each, and how
items of each kind are given to them in `labelsieve.classifiers.inputs`; here is what training asks
of all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.classifiers.inputs.images import Pictures
from labelsieve.errors import ModelError, OptionError
from labelsieve.features import probe
from labelsieve.models import hugging_face, trust
from labelsieve.models.encoder import DualEncoder
from labelsieve.models.load import claimant, is_encoder
from labelsieve.training.distributed import across, undivided

ROOM = "classifiers/backbones"  # of the registry
UNSEEN = 10.0  # logits below the least likely class that was seen: odds of 20,000 to 1


class Inputs(Protocol):
    """From rows of a data set to what a model is given; `labelsieve.classifiers.inputs`.

    Attributes:
        preprocess: how a data set is prepared for it.
        modality: kind of the items, as sources call it.
        noun: what people call one of them.
        task: what the hub calls classifying them.
        names: of the tensors that a graph takes.
    """

    @property
    def preprocess(self) -> Any: ...
    @property
    def modality(self) -> str: ...
    @property
    def noun(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...

    def ready(self, given: Any, device: torch.device) -> Any:
        """What `Dataset.inputs` gave -> what the model is called with; its len() is b."""

    def varied(
        self, ready: Any, generator: torch.Generator, crop: float, mirror: bool
    ) -> Any:
        """Random views of what `ready` gave, for training."""

    def read(self, item: Any) -> Any:
        """One item that a person named; None where it cannot be read."""

    def together(self, items: Sequence[Any]) -> Any:
        """What `read` gave, as `Dataset.inputs` gives it."""

    def blank(self) -> Any:
        """One item that shows nothing, as `Dataset.inputs` gives it."""

    def noise(self) -> Any:
        """Some items that mean nothing, likewise."""

    def graph(self, model: nn.Module) -> nn.Module:
        """The model as a graph: tensors -> logits [b, k]."""

    def tensors(self, ready: Any) -> tuple[Tensor, ...]:
        """What the graph takes of what `ready` gave."""

    def example(self, device: torch.device) -> tuple[Tensor, ...]:
        """Tensors to trace the graph with."""

    def axes(self) -> dict[str, dict[int, Any]]:
        """Which of their axes have any size."""


@dataclass(frozen=True)
class Backbone:
    """A model to train, and what belongs to it.

    Attributes:
        model: normalised pixels [b, 3, h, w], or windows of texts, -> logits [b, k], or an object
            with `logits`; float32.
        preprocess: how it wants its items.
        head: names of the parameters that were drawn for the new classes.
        linear: the head, where it is one linear layer.
        save: writes it with the names of its classes to a folder: config.json,
            model.safetensors, and what else its library reads.
        save_memory: lets the model keep no activations, but compute them again for the
            gradient; raises OptionError where it cannot do that.
        blocks: names of the parameters of a tower's transformer blocks; None for models that
            are no tower of an image-text model.
        encoder: opens the image-text model that a tower was taken from; None for others.
        reads: how it is given its items; None is for pictures.
        common: whether the head is given features of length one, in the space of class names.
    """

    model: Any
    preprocess: Any
    head: frozenset[str]
    linear: nn.Linear | None
    save: Callable[[Sequence[str], Path], None]
    save_memory: Callable[[], None]
    blocks: frozenset[str] | None = None
    encoder: Callable[[], DualEncoder] | None = None
    reads: Inputs | None = None
    common: bool = False

    @cached_property
    def inputs(self) -> Inputs:
        """How it is given its items."""
        return self.reads or Pictures(self.preprocess)


def family_of(name: str) -> ModuleType:
    """The file of the room that answers for a checkpoint, or for a saved classifier.

    Raises:
        ModelError: there is no such model, or it cannot be fine-tuned.
    """
    try:
        family = claimant(ROOM, name)
    except ModelError:
        # of nobody, or of a family from elsewhere that brings no backbone
        if not is_encoder(name):
            raise
        family = None
    if family is None:
        raise ModelError(
            f"Model '{name}' has no tower or classifier that can be fine-tuned.",
            "Name another one with --student, such as facebook/convnext-tiny-224 for images.",
        )
    return family


def logits_of(model: nn.Module, inputs: Any) -> Tensor:
    """Normalised pixels or windows [b, ...] -> logits [b, k], whatever the library answers with."""

    def work(rows: Any) -> Tensor:
        answer = model(rows)
        # transformers wraps logits in an object of its own
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        return logits

    # each of several processes that train together looks at its own items
    return across(work, inputs)


def build(
    checkpoint: str, classes: Sequence[str], *, seed: int, device: torch.device
) -> Backbone:
    """A checkpoint with a new head, drawn from the seed.

    Args:
        checkpoint: "tiny", a directory, a hub id, or LIBRARY:MODEL. Of an image-text model the
            image tower is taken.

    Raises:
        ModelError: not found, or no model that can be fine-tuned.
    """
    family = family_of(checkpoint)
    with hugging_face.one_line(checkpoint):
        built: Backbone = family.build(checkpoint, classes, seed, device)
    try_out(checkpoint, built, len(classes))
    return built


def try_out(name: str, backbone: Backbone, classes: int) -> None:
    """One blank item: sizes that do not fit and numbers that overflow are noticed here.

    Raises:
        ModelError: the model gives no finite logit for each class.
    """
    model = backbone.model
    device = next(model.parameters()).device
    training = model.training
    # batch statistics of one picture would be no numbers, and running ones would change
    model.eval()
    with hugging_face.one_line(name), torch.no_grad():
        inputs = backbone.inputs
        logits = logits_of(model, inputs.ready(inputs.blank(), device))
    model.train(training)
    if logits.shape != (1, classes) or not logits.isfinite().all():
        raise trust.refusal(name, f"it gives no {classes} finite numbers for an item")


def names_in(model: nn.Module, part: nn.Module) -> frozenset[str]:
    """Names that the parameters of a part have in the whole model."""
    # by identity: the same parameter has other names inside the part
    inner = {id(parameter) for parameter in part.parameters()}
    return frozenset(n for n, p in model.named_parameters() if id(p) in inner)


def parameters_of(backbone: Backbone, tune: str | None) -> dict[str, nn.Parameter]:
    """The parameters that are to train, by name.

    Args:
        tune: "blocks" (a tower's transformer blocks, and the head: the paper's full
            fine-tuning of CLIP), "all", "head", "lora" (what `put_lora` added, and the head); None
            is "blocks" for a tower and "all" for others.

    Raises:
        OptionError: "blocks" of a model that is no tower.
    """
    every = dict(backbone.model.named_parameters())
    tune = tune or ("all" if backbone.blocks is None else "blocks")
    if tune == "all":
        return every
    chosen = backbone.head
    if tune == "blocks":
        if backbone.blocks is None:
            raise OptionError(
                "tune=blocks is for image towers and encoders of texts (--student clip).",
                "Use tune=all or tune=head.",
            )
        chosen = chosen | backbone.blocks
    if tune == "lora":
        chosen = chosen | {name for name in every if ".lora_" in name}
    return {name: parameter for name, parameter in every.items() if name in chosen}


def trainable(backbone: Backbone, tune: str | None) -> dict[str, nn.Parameter]:
    """As `parameters_of`; these get gradients, all others are frozen."""
    chosen = parameters_of(backbone, tune)
    # frozen ones first: no gradient is computed below the lowest that trains
    backbone.model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


@torch.no_grad()
def head_from_texts(backbone: Backbone, texts: Sequence[str], pixels: Any) -> None:
    """Let the head of a tower begin as the zero-shot classifier of its texts.

    Logits s · t · Px / |Px| of a pooled output x, projection P and text t of length one
    become linear in x when |Px| is replaced by its mean over some pictures.

    Args:
        texts: one prompt per class.
        pixels: normalised [b, 3, h, w], pictures of the training set, for their mean.

    Raises:
        OptionError: the backbone has no text tower.
    """
    head = backbone.linear
    if backbone.encoder is None or head is None:
        raise OptionError(
            "head_start=text needs an image-text model, or an encoder of texts.",
            "Use --student clip or head_start=random.",
        )
    encoder = backbone.encoder()
    if backbone.common:
        head.weight.copy_(encoder.logit_scale * encoder.text_features(texts))
        head.bias.zero_()
        return
    # the mean stands for each picture's own length, which is not linear in x
    length = encoder.project_image(encoder.image_pooled(pixels)).norm(dim=1).mean()
    projection = encoder.project_image(
        torch.eye(encoder.image_width, device=encoder.device)
    )  # [width, d]
    head.weight.copy_(
        encoder.logit_scale / length * encoder.text_features(texts) @ projection.T
    )
    head.bias.zero_()


@contextlib.contextmanager
def features_before(head: nn.Linear) -> Iterator[list[Tensor]]:
    """What the head is given while this is open, [b, width] float32 of each batch."""
    # of several processes that train together each needs what the head is given of all
    with (
        undivided(),
        given_to(head, lambda given: given.detach().float().flatten(1).cpu()) as seen,
    ):
        yield seen


@contextlib.contextmanager
def given_to(
    head: nn.Linear | None, change: Callable[[Tensor], Tensor] = lambda given: given
) -> Iterator[list[Tensor]]:
    """What a head is given while this is open, with gradient; nothing of no head."""
    seen: list[Tensor] = []
    if head is None:
        yield seen
        return

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(change(inputs[0]))

    handle = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def head_from_probe(
    head: nn.Linear, features: np.ndarray, labels: np.ndarray, seed: int
) -> None:
    """Let a head begin as logistic regression on what it is given.

    Linear probing, then fine-tuning (Kumar et al., "Fine-Tuning can Distort Pretrained Features
    and Underperform Out-of-Distribution", ICLR 2022): under a random head the first steps spoil
    good features, and few images never lead back.

    Args:
        features: [t, width] of training images. labels: [t] their classes.
    """
    weight, bias = probe.linear(features, labels, head.out_features, seed)
    # classes without training images: unlikely, but finite, so that training can go on
    bias = np.where(np.isfinite(bias), bias, bias[np.isfinite(bias)].min() - UNSEEN)
    head.weight.copy_(torch.from_numpy(weight))
    if head.bias is not None:
        head.bias.copy_(torch.from_numpy(bias))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Modules draw their first weights from torch's global generator: set for them, and
    put back.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
