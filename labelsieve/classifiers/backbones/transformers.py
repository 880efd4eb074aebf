"""Image classifiers of transformers, by directory or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.classifiers.backbones import _hub
from labelsieve.data.images import Preprocess
from labelsieve.models import hugging_face

FAMILY = "image classifiers of transformers"
MAE = "vit_mae"  # the only one here that transformers has no classifier for
# model_type -> recipe; families that the paper did not train take `convnext`, the gentlest.
RECIPE_OF = {"vit": "vit", "deit": "vit", "resnet": "resnet", MAE: "mae"}


def claims(name: str) -> bool:
    """Whether transformers classifies pictures with such a model."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    kind = hugging_face.read_config(name).model_type
    return kind == MAE or kind in KNOWN


def recipe(name: str) -> str:
    """By the type of the model."""
    return RECIPE_OF.get(hugging_face.read_config(name).model_type, "convnext")


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """A checkpoint with a new head; everything else comes from the checkpoint."""
    with seeded(seed):
        model = _classifier(name, classes)
    return _backbone(name, model, model.config, device)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """Any image classifier of transformers, by directory or hub id, and its classes."""
    from transformers import AutoModelForImageClassification

    config = hugging_face.read_config(folder)
    classes = files.classes_of(folder, config.id2label)
    model = hugging_face.read_model(folder, AutoModelForImageClassification, config)
    return _backbone(folder, model, config, device), classes


def _backbone(name: str, model: Any, config: Any, device: torch.device) -> Backbone:
    processor = hugging_face.image_processor(name)
    preprocess = _hub.preprocess_for(name, processor, config)
    # the head is what stands outside the body, whatever a family calls it
    body = names_in(model, model.base_model)
    linear = _heads(model)
    return Backbone(
        model.to(device),
        preprocess,
        head=frozenset(n for n, _ in model.named_parameters()) - body,
        linear=linear[0] if len(linear) == 1 else None,
        save=partial(_save, model, preprocess, processor),
        save_memory=partial(_hub.save_memory, model),
    )


def _heads(model: Any) -> list[nn.Linear]:
    """The linear layers behind the body."""
    inner = set(model.base_model.modules())
    return [m for m in model.modules() if m not in inner and isinstance(m, nn.Linear)]


def _save(
    model: Any,
    preprocess: Preprocess,
    processor: Any,
    classes: Sequence[str],
    folder: Path,
) -> None:
    _hub.name_classes(model.config, classes)
    with hugging_face.without_bar():
        model.save_pretrained(folder)
    with hugging_face.hushed():
        (processor or files.processor(preprocess)).save_pretrained(folder)


def _classifier(checkpoint: str, classes: Sequence[str]) -> Any:
    from transformers import AutoModelForImageClassification

    config = hugging_face.read_config(checkpoint)
    if config.model_type == MAE:
        config = _as_vit(config)
    _hub.name_classes(config, classes)
    kind = AutoModelForImageClassification
    model = hugging_face.read_model(checkpoint, kind, config, new_head=True)
    for head in _heads(model):
        # a head of as many classes would else stay, with other classes in mind
        head.reset_parameters()
    return model


def _as_vit(config: Any) -> Any:
    """An MAE's encoder is a ViT; transformers has no classifier under MAE's own name."""
    from transformers import ViTConfig

    # MAE's own entries (decoder, mask ratio) mean nothing to a ViT
    own = {"model_type", "architectures", "transformers_version"}
    values = config.to_dict()
    shared = (ViTConfig().to_dict().keys() - own) & values.keys()
    return ViTConfig(**{name: values[name] for name in shared})
