"""What is fine-tuned: a model of some library with a new linear head.

Which libraries there are is decided in `labelsieve.classifiers.backbones`, one file each; here is
what training asks of all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError, OptionError
from labelsieve.features import probe
from labelsieve.models import hugging_face, trust
from labelsieve.models.encoder import DualEncoder, normalise
from labelsieve.models.load import claimant, is_encoder
from labelsieve.training.distributed import across

ROOM = "classifiers/backbones"  # of the registry
UNSEEN = 10.0  # logits below the least likely class that was seen: odds of 20,000 to 1


@dataclass(frozen=True)
class Backbone:
    """A model to train, and what belongs to it.

    Attributes:
        model: normalised pixels [b, 3, h, w] -> logits [b, k], or an object with `logits`;
            float32.
        preprocess: how it wants its pictures.
        head: names of the parameters that were drawn for the new classes.
        linear: the head, where it is one linear layer.
        save: writes it with the names of its classes to a folder: config.json,
            model.safetensors, and what else its library reads.
        save_memory: lets the model keep no activations, but compute them again for the
            gradient; raises OptionError where it cannot do that.
        blocks: names of the parameters of a tower's transformer blocks; None for models that
            are no tower of an image-text model.
        encoder: opens the image-text model that a tower was taken from; None for others.
    """

    model: Any
    preprocess: Preprocess
    head: frozenset[str]
    linear: nn.Linear | None
    save: Callable[[Sequence[str], Path], None]
    save_memory: Callable[[], None]
    blocks: frozenset[str] | None = None
    encoder: Callable[[], DualEncoder] | None = None


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
            f"Model '{name}' has no image tower or classifier that can be fine-tuned.",
            "Name another one with --student, such as facebook/convnext-tiny-224.",
        )
    return family


def logits_of(model: nn.Module, pixels: Tensor) -> Tensor:
    """Normalised pixels [b, 3, h, w] -> logits [b, k], whatever the library answers with."""

    def work(rows: Tensor) -> Tensor:
        answer = model(rows)
        # transformers wraps logits in an object of its own
        logits: Tensor = answer if isinstance(answer, Tensor) else answer.logits
        return logits

    # each of several processes that train together looks at its own pictures
    return across(work, pixels)


def build(
    checkpoint: str, classes: Sequence[str], *, seed: int, device: torch.device
) -> Backbone:
    """A checkpoint with a new head, drawn from the seed.

    Args:
        checkpoint: "tiny", a directory, a hub id, or LIBRARY:MODEL. Of an image-text model the
            image tower is taken.

    Raises:
        ModelError: not found, or no image model that can be fine-tuned.
    """
    family = family_of(checkpoint)
    with hugging_face.one_line(checkpoint):
        built: Backbone = family.build(checkpoint, classes, seed, device)
    try_out(checkpoint, built, len(classes))
    return built


def try_out(name: str, backbone: Backbone, classes: int) -> None:
    """One gray picture: sizes that do not fit and numbers that overflow are noticed here.

    Raises:
        ModelError: the model gives no finite logit for each class.
    """
    side = backbone.preprocess
    gray = torch.full((1, 3, side.height, side.width), 128, dtype=torch.uint8)
    model = backbone.model
    device = next(model.parameters()).device
    training = model.training
    # batch statistics of one picture would be no numbers, and running ones would change
    model.eval()
    with hugging_face.one_line(name), torch.no_grad():
        logits = logits_of(model, normalise(gray, side, device))
    model.train(training)
    if logits.shape != (1, classes) or not logits.isfinite().all():
        raise trust.refusal(name, f"it gives no {classes} finite numbers for a picture")


def names_in(model: nn.Module, part: nn.Module) -> frozenset[str]:
    """Names that the parameters of a part have in the whole model."""
    # by identity: the same parameter has other names inside the part
    inner = {id(parameter) for parameter in part.parameters()}
    return frozenset(n for n, p in model.named_parameters() if id(p) in inner)


def parameters_of(backbone: Backbone, tune: str | None) -> dict[str, nn.Parameter]:
    """The parameters that are to train, by name.

    Args:
        tune: "blocks" (a tower's transformer blocks, and the head: the paper's full
            fine-tuning of CLIP), "all", "head"; None is "blocks" for a tower and "all" for others.

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
                "tune=blocks is for image towers (--student clip).",
                "Use tune=all or tune=head.",
            )
        chosen = chosen | backbone.blocks
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
def head_from_texts(backbone: Backbone, texts: Sequence[str], pixels: Tensor) -> None:
    """Let the head of a tower begin as the zero-shot classifier of its texts.

    Logits s · t · Px / |Px| of a pooled output x, projection P and text t of length one
    become linear in x when |Px| is replaced by its mean over some pictures.

    Args:
        texts: one prompt per class.
        pixels: normalised [b, 3, h, w], pictures of the training set.

    Raises:
        OptionError: the backbone has no text tower.
    """
    head = backbone.linear
    if backbone.encoder is None or head is None:
        raise OptionError(
            "head_start=text needs an image-text model.",
            "Use --student clip or head_start=random.",
        )
    encoder = backbone.encoder()
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
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach().float().flatten(1).cpu())

    handle = head.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


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
