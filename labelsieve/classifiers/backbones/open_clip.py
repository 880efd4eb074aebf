"""Image towers of open_clip's models with a linear head, by the names that `--model` takes.

The head works on what the tower gives before its projection, as for CLIP. The tower is open_clip's
own module, convolutional ones included; its tensors are saved under open_clip's names
(`visual.…`), and the head's as `classifier.weight` and `classifier.bias`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.data.images import Preprocess
from labelsieve.models import trust
from labelsieve.models.families import open_clip as family
from labelsieve.models.load import load_encoder

FAMILY = "image towers of open_clip"
LIBRARY = "open_clip"


class OpenClipClassifier(nn.Module):
    """A linear layer on the pooled output of an image tower of open_clip."""

    def __init__(self, visual: Any, width: int, classes: int) -> None:
        super().__init__()
        self.visual = visual
        self.classifier = nn.Linear(width, classes)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[b, 3, height, width] normalised -> [b, k]."""
        return self.classifier(self.visual(pixel_values))


def claims(name: str) -> bool:
    """Whether this is a model of open_clip, or a tower that was saved."""
    return family.claims(name) or files.is_of(name, "\0", LIBRARY)


def recipe(name: str) -> str:
    """The paper's recipe for CLIP."""
    return "clip"


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """The image tower of a checkpoint, or of a saved tower, with a new head."""
    if files.is_of(name, "\0", LIBRARY):
        # the old head goes; what its tower learned stays
        old, _ = open_saved(name, device)
        visual, about = old.model.visual, files.config_of(name)["model_cfg"]
        preprocess, encoder = old.preprocess, None
    else:
        found, model = family.read_model(name)
        visual, about = _unprojected(model.visual), found.model
        preprocess = family.preprocess_of(name)
        # a second copy, opened for head_start=text alone: scanning takes towers apart
        encoder = partial(load_encoder, name, device=device)
    width = _width(visual.eval(), preprocess)
    with seeded(seed):
        built = OpenClipClassifier(visual, width, len(classes))
    return _backbone(built.to(device), about, preprocess, encoder)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """A tower that was saved, and its classes."""
    config = files.config_of(folder)
    # a checkpoint of open_clip is claimed, too, and has texts in place of classes
    if config.get("library") != LIBRARY:
        help = "Fine-tune it with 'labelsieve train RUN --student'."
        raise trust.refusal(folder, "it has no head that classifies", help)
    classes = files.classes_of(folder, config.get("id2label"))
    about = config.get("model_cfg")
    weights = Path(folder) / trust.WEIGHTS
    visual = _unprojected(family.described(folder, about).visual)
    # the tower lies without memory as yet, so nothing can be asked with a picture
    width = files.shape_in(folder, weights, "classifier.weight")[-1]
    with torch.device("meta"):
        model = OpenClipClassifier(visual, width, len(classes))
    files.read_into(folder, model, weights)
    files.refuse_meta(folder, dict(model.named_buffers()))
    preprocess = files.saved_preprocess(folder)
    return _backbone(model.to(device), about, preprocess), classes


def _unprojected(visual: Any) -> Any:
    """A tower whose output is what its projection into the common space would get."""
    if getattr(visual, "proj", None) is not None:
        visual.proj = None
    # timm's towers have theirs in a module behind the trunk
    if hasattr(visual, "trunk"):
        visual.head = nn.Identity()
    return visual


@torch.no_grad()
def _width(visual: Any, preprocess: Preprocess) -> int:
    """Of the output, which each kind of tower calls otherwise: asked with a black picture."""
    black = torch.zeros(1, 3, preprocess.height, preprocess.width)
    return int(visual(black).shape[-1])


def _backbone(
    model: OpenClipClassifier,
    about: Mapping[str, Any] | Any,
    preprocess: Preprocess,
    encoder: Any = None,
) -> Backbone:
    visual = model.visual
    # convolutional towers have neither: all of their weights train
    tower = getattr(visual, "trunk", getattr(visual, "transformer", None))
    blocks = getattr(tower, "blocks", getattr(tower, "resblocks", None))
    return Backbone(
        model.requires_grad_(True),
        preprocess,
        head=names_in(model, model.classifier),
        linear=model.classifier,
        save=partial(_save, model, about, preprocess),
        save_memory=partial(files.save_memory, visual),
        blocks=None if blocks is None else names_in(model, blocks),
        encoder=encoder,
    )


def _save(
    model: OpenClipClassifier,
    about: Mapping[str, Any],
    preprocess: Preprocess,
    classes: Sequence[str],
    folder: Path,
) -> None:
    content = {"model_cfg": dict(about)}
    files.write(folder, LIBRARY, content, classes, model, preprocess)
