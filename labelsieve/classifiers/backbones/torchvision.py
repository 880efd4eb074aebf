"""torchvision's classifiers: `torchvision:NAME/WEIGHTS.safetensors`, or `torchvision:NAME/random`.

torchvision publishes its weights as pickles, which are not opened here; the message for a name
alone says how they become safetensors. A classifier is saved as those, under torchvision's own
names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError, unknown
from labelsieve.models import trust

FAMILY = "torchvision"
PREFIX = "torchvision:"


def claims(name: str) -> bool:
    """Whether a name is meant for torchvision, or a folder holds a classifier of its."""
    return files.is_of(name, PREFIX, FAMILY)


def recipe(name: str) -> str:
    """By the name of the architecture."""
    return files.recipe_of(_parts(name)[0])


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """A model of torchvision with a new head."""
    architecture, weights = _parts(name)
    with seeded(seed):
        model = _create(name, architecture, len(classes))
    # drawn for these classes: a file has those of others
    new = names_in(model, _head(name, model))
    if weights is not None:
        files.read_into(name, model, weights, new)
    # "\0" begins no name: only the folder is asked
    saved = files.is_of(name, "\0", FAMILY)
    preprocess = files.saved_preprocess(name) if saved else _published(architecture)
    return _backbone(name, architecture, model.to(device), preprocess)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """A classifier that was saved, and its classes."""
    if not files.is_of(folder, "\0", FAMILY):
        help = "Fine-tune it with 'labelsieve train RUN --student'."
        raise trust.refusal(folder, "it names a backbone, not a saved classifier", help)
    architecture, weights = _parts(folder)
    classes = files.classes_of(folder, files.config_of(folder).get("id2label"))
    model = _create(folder, architecture, len(classes))
    files.read_into(folder, model, weights or Path())
    preprocess = files.saved_preprocess(folder)
    return _backbone(folder, architecture, model.to(device), preprocess), classes


def _parts(name: str) -> tuple[str, Path | None]:
    """Architecture and weights; None begins at random."""
    models = files.need("torchvision.models", name, "backbones")
    if not name.startswith(PREFIX):
        architecture = str(files.config_of(name).get("architecture", ""))
        weights = str(Path(name) / trust.WEIGHTS)
    else:
        architecture, _, weights = name.removeprefix(PREFIX).partition("/")
    known = models.list_models(module=models)
    if architecture not in known:
        raise ModelError(unknown("Model of torchvision", architecture, known))
    # torchvision:resnet18 alone means what torchvision would download
    if not weights:
        raise trust.refusal(
            name, "torchvision publishes its weights as pickles", _convert(architecture)
        )
    return architecture, None if weights == files.RANDOM else Path(weights)


def _convert(architecture: str) -> str:
    """One command that turns published weights into safetensors, and the name to use then."""
    file = f"{architecture}.safetensors"
    return (
        f'Convert them once: python -c "import torchvision as t, safetensors.torch as s; '
        f"s.save_file(t.models.get_model('{architecture}', weights='DEFAULT').state_dict(), "
        f"'{file}')\" and name {PREFIX}{architecture}/{file}; "
        f"{PREFIX}{architecture}/{files.RANDOM} starts from random weights."
    )


def _create(name: str, architecture: str, classes: int) -> Any:
    models = files.need("torchvision.models", name, "backbones")
    return models.get_model(architecture, weights=None, num_classes=classes)


def _head(name: str, model: Any) -> nn.Linear:
    """The last linear layer: torchvision calls it fc, head, or by its place in a sequence."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    # SqueezeNet ends in a convolution
    if not layers:
        raise trust.refusal(name, "it ends in no linear layer")
    return layers[-1]


def _backbone(
    name: str, architecture: str, model: Any, preprocess: Preprocess
) -> Backbone:
    head = _head(name, model)
    return Backbone(
        model,
        preprocess,
        head=names_in(model, head),
        linear=head,
        save=partial(_save, architecture, model, preprocess),
        save_memory=partial(files.save_memory, model),
    )


def _published(architecture: str) -> Preprocess:
    """How the pictures were prepared that the published weights saw."""
    models = files.need("torchvision.models", architecture, "backbones")
    wanted = models.get_model_weights(architecture).DEFAULT.transforms()
    # presets for classification are squares: one number each
    (side,), (edge,) = wanted.crop_size, wanted.resize_size
    way = Image.Resampling[wanted.interpolation.name]
    return Preprocess(side, side, edge, int(way), tuple(wanted.mean), tuple(wanted.std))


def _save(
    architecture: str,
    model: Any,
    preprocess: Preprocess,
    classes: Sequence[str],
    folder: Path,
) -> None:
    about = {"architecture": architecture}
    files.write(folder, FAMILY, about, classes, model, preprocess)
