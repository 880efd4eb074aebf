"""Image towers of CLIP and SigLIP checkpoints of transformers, with a linear head.

The head works on the pooled output after the last norm, before the projection (CLIP: the class
token), as in the paper. `CLIPForImageClassification` of transformers averages the patch tokens
without that norm instead, and no other class of transformers computes ours, so a tower is saved
in a small format of its own: the directory is a `CLIPVisionModel` (or `SiglipVisionModel`) to
transformers, with two more tensors, `classifier.weight` and `classifier.bias`. Its `model_type` is
that of the tower alone, so `AutoModelForImageClassification` refuses it instead of giving other
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.classifiers.backbones import _hub
from labelsieve.data.images import Preprocess
from labelsieve.models import hugging_face, trust
from labelsieve.models.families import clip, siglip
from labelsieve.models.load import load_encoder

FAMILY = "image towers of CLIP and SigLIP"
TOWER = "TowerClassifier"  # in `architectures` of a saved tower
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


def claims(name: str) -> bool:
    """Whether this is an image-text model of transformers, or a tower that was saved."""
    architecture = hugging_face.architecture_of(hugging_face.read_config(name))
    # they have a head already, which pools otherwise
    if architecture in IMAGE_CLASSIFIERS:
        return False
    return architecture == TOWER or clip.claims(name) or siglip.claims(name)


def recipe(name: str) -> str:
    """The paper's recipe for CLIP."""
    return "clip"


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """The image tower of a checkpoint, or of a saved tower, with a new head."""
    config = hugging_face.read_config(name)
    processor = hugging_face.image_processor(name)
    if hugging_face.architecture_of(config) == TOWER:
        tower = _read(name, config).vision_model.to(device)
        preprocess = _hub.preprocess_for(name, processor, config)
        with seeded(seed):
            model = TowerClassifier(tower, len(classes))
        return _backbone(model, preprocess, processor)
    encoder = load_encoder(name, device=device)
    tower = encoder.model.vision_model  # type: ignore[attr-defined]
    with seeded(seed):
        model = TowerClassifier(tower, len(classes))
    return _backbone(model, encoder.preprocess, processor, lambda: encoder)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """A tower that was saved, and its classes."""
    config = hugging_face.read_config(folder)
    if hugging_face.architecture_of(config) != TOWER:
        help = "Fine-tune it with 'labelsieve train RUN --student'."
        raise trust.refusal(folder, "it has no head that classifies", help)
    classes = files.classes_of(folder, config.id2label)
    processor = hugging_face.image_processor(folder)
    preprocess = _hub.preprocess_for(folder, processor, config)
    model = _read(folder, config).to(device)
    return _backbone(model, preprocess, processor), classes


def _read(where: str, config: Any) -> TowerClassifier:
    from transformers import AutoModel

    def build() -> TowerClassifier:
        tower = AutoModel.from_config(config, trust_remote_code=False)
        return TowerClassifier(tower, len(config.id2label))

    tensors = hugging_face.read_tensors(where, hugging_face.describe(build))
    model = build()
    model.load_state_dict(tensors)
    return model


def _backbone(
    model: TowerClassifier,
    preprocess: Preprocess,
    processor: Any,
    encoder: Any = None,
) -> Backbone:
    return Backbone(
        model,
        preprocess,
        head=names_in(model, model.classifier),
        linear=model.classifier,
        save=partial(_save, model, preprocess, processor),
        save_memory=partial(_hub.save_memory, model.vision_model),
        blocks=names_in(model, model.vision_model.encoder.layers),
        encoder=encoder,
    )


def _save(
    model: TowerClassifier,
    preprocess: Preprocess,
    processor: Any,
    classes: Sequence[str],
    folder: Path,
) -> None:
    config = model.vision_model.config
    _hub.name_classes(config, classes)
    config.architectures = [TOWER]
    config.save_pretrained(folder)
    files.write_tensors(model, folder / trust.WEIGHTS)
    with hugging_face.hushed():
        (processor or files.processor(preprocess)).save_pretrained(folder)
