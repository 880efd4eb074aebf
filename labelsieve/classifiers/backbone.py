"""What is fine-tuned: an image tower with a linear head, or an image classifier of transformers.

A tower's head works on the pooled output after the last norm, before the projection (CLIP:
the class token), as in the paper. `CLIPForImageClassification` of transformers averages the
patch tokens without that norm instead, and no other class of transformers computes ours, so
a tower is saved in a small format of its own: the directory is a `CLIPVisionModel` (or
`SiglipVisionModel`) to transformers, with two more tensors, `classifier.weight` and
`classifier.bias`. Its `model_type` is that of the tower alone, so
`AutoModelForImageClassification` refuses it instead of giving other answers. Every other
backbone is a plain directory of transformers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelsieve.data.images import Preprocess
from labelsieve.errors import OptionError
from labelsieve.features import probe
from labelsieve.models import hugging_face, trust
from labelsieve.models.encoder import DualEncoder, normalise
from labelsieve.models.load import is_encoder, load_encoder
from labelsieve.training.distributed import across

SIDE = 224  # pixels, where a configuration names none: ImageNet's usual side
WHOLE = 384  # as in transformers' ConvNextImageProcessor
UNSEEN = 10.0  # logits below the least likely class that was seen: odds of 20,000 to 1
# Image classifiers of transformers that share their model_type with an image-text model.
IMAGE_CLASSIFIERS = ("CLIPForImageClassification", "SiglipForImageClassification")


class TowerClassifier(nn.Module):
    """A linear layer on the pooled output of an image tower of transformers."""

    def __init__(self, vision_model: Any, classes: int) -> None:
        super().__init__()
        self.vision_model = vision_model
        self.classifier = nn.Linear(
            vision_model.config.hidden_size, classes, device=vision_model.device
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[b, 3, height, width] normalised -> [b, k]."""
        return self.classifier(self.vision_model(pixel_values).pooler_output)


@dataclass(frozen=True)
class Backbone:
    """A model to train, and what belongs to it.

    Attributes:
        model: `TowerClassifier`, or an image classifier of transformers; float32.
        preprocess: how it wants its pictures.
        processor: its image processor of transformers, None where the checkpoint had none.
        encoder: the image-text model that a tower was taken from; None for a classifier of
            transformers.
    """

    model: Any
    preprocess: Preprocess
    processor: Any
    encoder: DualEncoder | None = None


def logits_of(model: nn.Module, pixels: Tensor) -> Tensor:
    """Normalised pixels [b, 3, h, w] -> logits [b, k], of either kind of backbone."""

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
        checkpoint: "tiny", a directory or a hub id. Of an image-text model the
            image tower is taken.

    Raises:
        ModelError: not found, or no image model that transformers can classify with.
    """
    if is_tower(checkpoint):
        encoder = load_encoder(checkpoint, device=device)
        with seeded(seed):
            tower = encoder.model.vision_model  # type: ignore[attr-defined]
            model: Any = TowerClassifier(tower, len(classes))
        processor = hugging_face.image_processor(checkpoint)
        return Backbone(model, encoder.preprocess, processor, encoder)
    # the head alone is drawn; everything else comes from the checkpoint
    with seeded(seed):
        model = _classifier(checkpoint, classes)
    processor = hugging_face.image_processor(checkpoint)
    preprocess = preprocess_for(checkpoint, processor, model.config)
    built = Backbone(model.to(device), preprocess, processor)
    try_out(checkpoint, built, len(classes))
    return built


def try_out(name: str, backbone: Backbone, classes: int) -> None:
    """One gray picture: sizes that do not fit and numbers that overflow are noticed here.

    Raises:
        ModelError: the model gives no finite logit for each class.
    """
    side = backbone.preprocess
    gray = torch.full((1, 3, side.height, side.width), 128, dtype=torch.uint8)
    device = next(backbone.model.parameters()).device
    with hugging_face.one_line(name), torch.no_grad():
        logits = logits_of(backbone.model, normalise(gray, side, device))
    if logits.shape != (1, classes) or not logits.isfinite().all():
        raise trust.refusal(name, f"it gives no {classes} finite numbers for a picture")


def _classifier(checkpoint: str, classes: Sequence[str]) -> Any:
    from transformers import AutoModelForImageClassification

    config = hugging_face.read_config(checkpoint)
    kind: Any = AutoModelForImageClassification
    if config.model_type == "vit_mae":
        kind, config = _as_vit(config)
    name_classes(config, classes)
    model = hugging_face.read_model(checkpoint, kind, config, new_head=True)
    # the head is what stands outside the body, whatever a family calls it
    inner = set(model.base_model.modules())
    for module in model.modules():
        if module not in inner and isinstance(module, nn.Linear):
            # a head of as many classes would else stay, with other classes in mind
            module.reset_parameters()
    return model


def _as_vit(config: Any) -> tuple[Any, Any]:
    """An MAE's encoder is a ViT; transformers has no classifier under MAE's own name."""
    from transformers import AutoModelForImageClassification, ViTConfig

    # MAE's own entries (decoder, mask ratio) mean nothing to a ViT
    own = {"model_type", "architectures", "transformers_version"}
    values = config.to_dict()
    shared = (ViTConfig().to_dict().keys() - own) & values.keys()
    vit = ViTConfig(**{name: values[name] for name in shared})
    return AutoModelForImageClassification, vit


def name_classes(config: Any, classes: Sequence[str]) -> None:
    """Write the classes into a configuration."""
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}


def parameters_of(model: Any, tune: str | None) -> dict[str, nn.Parameter]:
    """The parameters that are to train, by name.

    Args:
        tune: "blocks" (a tower's transformer blocks, and the head: the paper's full
            fine-tuning of CLIP), "all", "head"; None is "blocks" for a tower and "all" for others.

    Raises:
        OptionError: "blocks" of a model that is no tower.
    """
    tower = isinstance(model, TowerClassifier)
    tune = tune or ("blocks" if tower else "all")
    if tune == "blocks" and not tower:
        raise OptionError(
            "tune=blocks is for image towers (--student clip).",
            "Use tune=all or tune=head.",
        )
    body = model.vision_model if tower else model.base_model
    inner = {
        id(p) for p in (body.encoder.layers if tune == "blocks" else body).parameters()
    }
    # by identity: the same parameter has other names inside the body
    every = {id(p) for p in body.parameters()}
    frozen = {"blocks": every - inner, "all": set(), "head": every}[tune]
    return {n: p for n, p in model.named_parameters() if id(p) not in frozen}


def trainable(model: Any, tune: str | None) -> dict[str, nn.Parameter]:
    """As `parameters_of`; these get gradients, all others are frozen."""
    chosen = parameters_of(model, tune)
    # frozen ones first: no gradient is computed below the lowest that trains
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def save_memory(model: Any) -> None:
    """Keep no activations of the blocks; they are computed again for the gradient.

    Raises:
        OptionError: the model cannot do that.
    """
    body = model.vision_model if isinstance(model, TowerClassifier) else model
    try:
        body.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    except ValueError as error:
        raise OptionError(
            f"checkpointing is not supported by {type(body).__name__}.",
            "Use --set accumulate=4 instead.",
        ) from error


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
    encoder = backbone.encoder
    if encoder is None:
        raise OptionError(
            "head_start=text needs an image-text model.",
            "Use --student clip or head_start=random.",
        )
    # the mean stands for each picture's own length, which is not linear in x
    length = encoder.project_image(encoder.image_pooled(pixels)).norm(dim=1).mean()
    projection = encoder.project_image(
        torch.eye(encoder.image_width, device=encoder.device)
    )  # [width, d]
    head = backbone.model.classifier
    head.weight.copy_(
        encoder.logit_scale / length * encoder.text_features(texts) @ projection.T
    )
    head.bias.zero_()


def head_of(model: Any) -> nn.Linear | None:
    """The linear layer behind a backbone's body; None where there is none, or several."""
    if isinstance(model, TowerClassifier):
        return model.classifier
    inner = set(model.base_model.modules())
    heads = [m for m in model.modules() if m not in inner and isinstance(m, nn.Linear)]
    return heads[0] if len(heads) == 1 else None


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


def is_tower(checkpoint: str) -> bool:
    """Whether a checkpoint is an image-text model, whose image tower is taken."""
    if not is_encoder(checkpoint):
        return False
    config = hugging_face.read_config(checkpoint)
    return hugging_face.architecture_of(config) not in IMAGE_CLASSIFIERS


def preprocess_for(name: str, processor: Any, config: Any) -> Preprocess:
    """How an image classifier wants its pictures."""
    size: Any = getattr(config, "image_size", None)
    if size is None:
        size = getattr(getattr(config, "vision_config", None), "image_size", SIDE)
    if isinstance(size, list | tuple):
        size = max(size)
    preprocess = hugging_face.preprocess_with(name, processor, size)
    # of ConvNeXt's processor, which ResNets have, too: smaller pictures are cut from the
    # middle, larger ones (WHOLE) are resized without cutting
    share = getattr(processor, "crop_pct", None)
    edge = preprocess.shortest_edge
    if share is None or edge is None:
        return preprocess
    return replace(
        preprocess, shortest_edge=int(edge / share) if edge < WHOLE else None
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Modules draw their first weights from torch's global generator: set for them, and
    put back.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
