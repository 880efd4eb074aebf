"""Where a checkpoint of open_clip lies, and what its configuration may say.

A configuration may come from a stranger. It is read as data: only the entries listed here reach
the library, and none of them names a file, a repository or code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from labelsieve import registry
from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models import hugging_face, trust

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
BUILT_IN = "open_clip:"  # open_clip:ViT-B-32/laion2b_s34b_b79k, or a folder behind it
HUB = "hf-hub:"  # open_clip's own prefix for repositories of the hub
# The arguments of open_clip's models that a configuration may give.
MODEL = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
}
# What open_clip takes where a configuration is silent: the constants of OpenAI's CLIP.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SIDE = 224
NO_LIBRARY = "pip install 'labelsieve[open-clip]' reads this model."


@dataclass(frozen=True)
class Checkpoint:
    """A model of open_clip before its weights are read.

    Attributes:
        name: as the user wrote it.
        model: `model_cfg` of its configuration.
        preprocess: `preprocess_cfg`, or what the library has on record for a tag.
        place: its folder, or a hub id.
    """

    name: str
    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    place: str

    @property
    def text(self) -> Mapping[str, Any]:
        """`text_cfg` of its configuration."""
        return self.model["text_cfg"]


def claims(name: str) -> bool:
    """Whether a name is meant for open_clip; nothing is loaded."""
    if name.startswith((BUILT_IN, HUB)):
        return True
    # folders with both layouts, as LAION publishes them, are read by transformers
    folder = Path(name)
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def locate(name: str) -> Checkpoint:
    """Find a checkpoint and read its configuration.

    Raises:
        ModelError: not found, damaged, or with entries that are not taken.
    """
    place = name.removeprefix(BUILT_IN)
    if name.startswith(BUILT_IN) and not Path(place).is_dir():
        found = _of_tag(name, place)
    else:
        found = _of_place(name, place.removeprefix(HUB))
    check_model(found.name, found.model)
    return found


def _of_place(name: str, place: str) -> Checkpoint:
    """A checkpoint by its folder or hub id."""
    path = file_of(name, place, CONFIG)
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("model_cfg"), dict):
        raise trust.refusal(name, f"its {CONFIG} has no model_cfg", trust.COMPLETE)
    preprocess = content.get("preprocess_cfg") or {}
    return Checkpoint(name, content["model_cfg"], preprocess, place)


def _of_tag(name: str, place: str) -> Checkpoint:
    """A checkpoint by architecture and tag, as open_clip lists them."""
    library = need_open_clip(name)
    architecture, _, tag = place.partition("/")
    model = library.get_model_config(architecture)
    known = library.get_pretrained_cfg(architecture, tag)
    if model is None or not known:
        tags = library.list_pretrained_tags_by_model(architecture)
        help = f"Tags of {architecture}: {', '.join(tags)}." if tags else _EXAMPLE
        raise ModelError(f"open_clip knows no model '{place}'.", help)
    if not known.get("hf_hub"):
        raise trust.refusal(name, "its weights are published as a pickle only")
    # a file may stand behind the last slash; the safetensors beside it are taken
    return Checkpoint(name, model, known, "/".join(known["hf_hub"].split("/")[:2]))


_EXAMPLE = "Write it as open_clip:ViT-B-32/laion2b_s34b_b79k."


def need_open_clip(name: str) -> Any:
    """The library; it wants torchvision, so it is an extra.

    Raises:
        ModelError: it is not installed, or does not fit the torch that is.
    """
    try:
        return registry.need("open_clip")
    except (ImportError, RuntimeError) as error:
        # a torchvision that does not fit its torch raises RuntimeError when it is imported
        reason = f"open_clip cannot be imported ({str(error).splitlines()[0]})"
        raise trust.refusal(name, reason, NO_LIBRARY) from error


def file_of(name: str, place: str, file: str) -> Path:
    """A file of a checkpoint on this machine, after a download if need be.

    Raises:
        ModelError: it is not there.
    """
    from transformers.utils import cached_file

    if Path(place).is_dir():
        path: str | None = str(Path(place) / file)
    else:
        path = cached_file(place, file, _raise_exceptions_for_missing_entries=False)
    if path is None or not Path(path).is_file():
        raise trust.refusal(name, f"it has no {file}", _help_without(place))
    return Path(path)


def _help_without(place: str) -> str:
    """What to do where a file is missing: pickles beside it are named, never opened."""
    folder = Path(place)
    for pattern in trust.PICKLES if folder.is_dir() else ():
        for path in folder.glob(pattern):
            return (
                f"'{path.name}' is a pickle, which can run any code when opened. Save its "
                f"tensors as {WEIGHTS} where you trust it (safetensors.torch.save_file)."
            )
    return trust.COMPLETE


def check_model(name: str, model: Any) -> None:
    """Refuse sizes that cannot be, and towers that would be fetched from elsewhere.

    Args:
        model: `model_cfg` of a configuration.

    Raises:
        ModelError: names the entry.
    """
    if not isinstance(model, dict):
        raise trust.refusal(name, f"its {CONFIG} has no model_cfg", trust.COMPLETE)
    trust.check_config(name, model)
    more = sorted(set(model) - MODEL)
    if more:
        raise trust.refusal(name, f"'{more[0]}' of its {CONFIG} is not supported")
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise trust.refusal(name, f"its {CONFIG} describes no two towers")
    if text.get("hf_model_name"):
        raise trust.refusal(name, "its text tower is a model of transformers")
    # names of timm alone: with a prefix it would be a repository, and its files be read
    if not re.fullmatch(r"[\w.]*", str(vision.get("timm_model_name") or "")):
        raise trust.refusal(name, "its image tower is named by a repository")


def preprocess_of(found: Checkpoint, side: object) -> Preprocess:
    """How a checkpoint wants its pictures.

    Args:
        side: of its image tower, in pixels; an integer, or height and width.

    Raises:
        ModelError: a preparation that is not supported.
    """
    wanted = found.preprocess
    height, width = side if isinstance(side, list | tuple) else (side, side)
    way = str(wanted.get("interpolation", "bicubic"))
    mode = str(wanted.get("resize_mode", "shortest"))
    if mode not in ("shortest", "squash") or way not in ("bicubic", "bilinear"):
        reason = f"it prepares pictures with {way} interpolation and '{mode}' resizing"
        raise trust.refusal(found.name, reason)
    preprocess = Preprocess(
        height=height,
        width=width,
        shortest_edge=min(height, width) if mode == "shortest" else None,
        resample=int(Image.Resampling[way.upper()]),
        mean=tuple(wanted.get("mean", MEAN)),
        std=tuple(wanted.get("std", STD)),
    )
    trust.check_preprocess(found.name, preprocess)
    return preprocess


def side_of(found: Checkpoint) -> object:
    """The side in pixels that a configuration gives its image tower."""
    return found.model["vision_cfg"].get("image_size", SIDE)


def tokenizer_place(found: Checkpoint) -> str | None:
    """Where transformers finds its tokenizer; None for the one inside open_clip."""
    named = found.text.get("hf_tokenizer_name")
    if not named:
        return None
    # files beside the weights come first, as in the library
    folder = Path(found.place)
    if any((folder / file).is_file() for file in hugging_face.TOKENIZERS):
        return found.place
    # a repository of the hub and nothing else: a configuration does not choose local files
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(named)) or Path(named).exists():
        raise trust.refusal(found.name, f"its tokenizer is named '{named}'")
    return str(named)
