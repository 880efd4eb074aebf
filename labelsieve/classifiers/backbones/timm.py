"""timm's image models: `timm:NAME`, `timm:OWNER/REPOSITORY`, or a folder in timm's layout.

A name is downloaded from the hub as timm lists it; behind a slash, `timm:NAME/random` starts from
random weights. A classifier is saved in timm's own layout, which
`timm.create_model("local-dir:FOLDER", pretrained=True)` and transformers open, too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models import hugging_face, trust

FAMILY = "timm"
PREFIX = "timm:"
# Arguments of timm's models that a folder may set: sizes and switches. None names a file, a
# repository or code, and what a stranger makes of them is held against the size of the weights.
ARGUMENTS = {
    *("img_size", "patch_size", "embed_dim", "depth", "depths", "dims", "num_heads"),
    *("mlp_ratio", "init_values", "global_pool", "class_token", "reg_tokens"),
    *(
        "drop_rate",
        "drop_path_rate",
        "qkv_bias",
        "no_embed_class",
        "pre_norm",
        "fc_norm",
    ),
    *("dynamic_img_size", "in_chans"),
}

_ALL = "python -c 'import timm; print(timm.list_models())' lists them."


@dataclass(frozen=True)
class _Checkpoint:
    """A model of timm before its weights are read.

    Attributes:
        name: as the user wrote it.
        architecture: timm's name for it, with the tag of its weights.
        arguments: what its constructor gets.
        config: how its pictures are prepared; timm's `pretrained_cfg`.
        weights: the file; None begins at random.
        classes: names of the classes of a saved classifier, as its config.json has them.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    config: Mapping[str, Any]
    weights: Path | None
    classes: Any = None


def claims(name: str) -> bool:
    """Whether a name is meant for timm; its folders name an architecture and no type."""
    config = files.config_of(name)
    own = "architecture" in config and "model_type" not in config
    return name.startswith(PREFIX) or (own and files.LIBRARY not in config)


def recipe(name: str) -> str:
    """By the name of the architecture."""
    return files.recipe_of(_locate(name).architecture)


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """A model of timm with a new head."""
    found = _locate(name)
    with seeded(seed):
        model = _create(found, len(classes))
    if found.weights is not None:
        files.read_into(name, model, found.weights, names_in(model, _head(model)))
    return _backbone(found, model, device)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """A classifier in timm's layout, and its classes."""
    found = _locate(folder)
    classes = files.classes_of(folder, _numbered(found.classes))
    model = _create(found, len(classes))
    # timm:NAME/random
    if found.weights is None:
        raise trust.refusal(folder, "it has no weights", trust.COMPLETE)
    files.read_into(folder, model, found.weights)
    return _backbone(found, model, device), classes


def _locate(name: str) -> _Checkpoint:
    library = files.need("timm", name, "backbones")
    place = name.removeprefix(PREFIX)
    if Path(place).is_dir():
        return _of_folder(name, place)
    known, _, rest = place.partition("/")
    # names of timm have no slash; repositories of the hub have one
    if rest and rest != files.RANDOM:
        return _of_folder(name, place.removeprefix("hf-hub:"))
    if not library.is_model(known):
        near = difflib.get_close_matches(known.lower(), library.list_models(), 3)
        help = f"Did you mean {', '.join(near)}?" if near else _ALL
        raise ModelError(f"timm knows no model '{known}'.", help)
    config = library.get_pretrained_cfg(known)
    about = config.to_dict() if config is not None else {}
    weights = None
    if rest != files.RANDOM:
        weights = _of_hub(name, known, about)
    return _Checkpoint(name, known, {}, about, weights)


def _of_hub(name: str, known: str, about: Mapping[str, Any]) -> Path:
    """The weights that timm lists for a name, on this machine."""
    repository = str(about.get("hf_hub_id") or "")
    # some weights are on other servers only, as pickles
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        help = f"{PREFIX}{known}/{files.RANDOM} starts from random weights."
        raise trust.refusal(name, "timm lists no weights for it on the hub", help)
    return files.file_of(name, repository, trust.WEIGHTS)


def _of_folder(name: str, place: str) -> _Checkpoint:
    """A folder or repository of the hub in timm's layout; its config.json is read as data."""
    path = files.file_of(name, place, files.CONFIG)
    content = files.config_of(str(path.parent))
    trust.check_config(name, content)
    architecture = str(content.get("architecture", ""))
    if not files.need("timm", name, "backbones").is_model(architecture):
        reason = f"timm knows no architecture '{architecture}'"
        raise trust.refusal(name, reason, "A newer version of timm may.")
    arguments = _arguments(name, content.get("model_args") or {})
    # the first releases wrote its entries beside the others
    config = content.get("pretrained_cfg", content)
    if not isinstance(config, dict):
        raise trust.refusal(name, "its pretrained_cfg is no object", trust.COMPLETE)
    weights = files.file_of(name, place, trust.WEIGHTS)
    return _Checkpoint(
        name, architecture, arguments, config, weights, content.get("label_names")
    )


def _arguments(name: str, arguments: Any) -> dict[str, Any]:
    """What a folder gives the constructor, but for the number of classes, which is counted.

    Raises:
        ModelError: names what is not taken.
    """
    if not isinstance(arguments, dict):
        raise trust.refusal(name, "its model_args are no object", trust.COMPLETE)
    taken = {key: value for key, value in arguments.items() if key != "num_classes"}
    for key, value in taken.items():
        if key not in ARGUMENTS or not _is_plain(value):
            raise trust.refusal(name, f"'{key}' of its model_args is not supported")
    return taken


def _is_plain(value: Any) -> bool:
    """A number, a word, or a list of numbers."""
    if isinstance(value, list):
        return all(isinstance(item, int) for item in value)
    if isinstance(value, str):
        return re.fullmatch(r"\w*", value) is not None
    return isinstance(value, bool | int | float | None)


def _create(found: _Checkpoint, classes: int) -> Any:
    """Timm's model with random weights, of which the head stays where it is new."""
    library = files.need("timm", found.name, "backbones")
    make = partial(
        library.create_model,
        found.architecture,
        pretrained=False,
        num_classes=classes,
        **found.arguments,
    )
    # sizes may be a stranger's: described first, without memory for them
    if found.arguments and found.weights is not None:
        numbers = trust.count_numbers(found.name, [found.weights])
        trust.check_size(found.name, hugging_face.describe(make), numbers)
    return make()


def _head(model: Any) -> nn.Module:
    """What gives the logits; several layers where a model was distilled."""
    head = model.get_classifier()
    return nn.ModuleList(head) if isinstance(head, tuple | list) else head


def _backbone(found: _Checkpoint, model: Any, device: torch.device) -> Backbone:
    head = _head(model)
    return Backbone(
        model.to(device),
        _preprocess(found),
        head=names_in(model, head),
        linear=head if isinstance(head, nn.Linear) else None,
        save=partial(_save, found, model),
        save_memory=partial(files.save_memory, model),
    )


def _preprocess(found: _Checkpoint) -> Preprocess:
    data = files.need("timm.data", found.name, "backbones")
    wanted = data.resolve_data_config(pretrained_cfg=dict(found.config))
    _, height, width = wanted["input_size"]
    mode, way = wanted["crop_mode"], wanted["interpolation"].upper()
    # timm draws one of the two at random where training did
    way = "BICUBIC" if way == "RANDOM" else way
    if mode not in ("center", "squash") or way not in Image.Resampling.__members__:
        reason = f"it prepares pictures by '{mode}' cropping and {way.lower()} resizing"
        raise trust.refusal(found.name, reason)
    # rounded down as timm does; other edges would cut elsewhere
    edge = int(min(height, width) / wanted["crop_pct"])
    preprocess = Preprocess(
        height=height,
        width=width,
        shortest_edge=edge if mode == "center" else None,
        resample=int(Image.Resampling[way]),
        mean=tuple(wanted["mean"]),
        std=tuple(wanted["std"]),
    )
    trust.check_preprocess(found.name, preprocess)
    return preprocess


def _numbered(names: Any) -> Any:
    """Timm lists names in order, or by number as text."""
    return dict(enumerate(names)) if isinstance(names, list) else names


def _save(found: _Checkpoint, model: Any, classes: Sequence[str], folder: Path) -> None:
    hub = files.need("timm.models", found.name, "backbones")
    content: dict[str, Any] = {
        "num_classes": len(classes),
        "label_names": list(classes),
        "model_args": dict(found.arguments),
    }
    # before the head was replaced, these were the names of other classes
    kept = {k: v for k, v in found.config.items() if not k.startswith("label_")}
    content["pretrained_cfg"] = {**kept, "num_classes": len(classes)}
    hub.save_for_hf(model, folder, model_config=content, safe_serialization=True)
    # its own saver refuses tensors that share memory
    files.write_tensors(model, folder / trust.WEIGHTS)
