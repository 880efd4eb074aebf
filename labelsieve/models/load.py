"""Opening an image-text model by name, directory or hub id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from labelsieve import progress, registry
from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models.encoder import DualEncoder

# The embedded model, and others that were tried with this layout: name, size and what it is for.
TINY = Path(__file__).parent.parent / "assets" / "tiny"


RECOMMENDED = (
    (
        "tiny",
        "4 M",
        "embedded; 32 x 32 pixels; demo, tests, small pictures without a network",
    ),
    ("openai/clip-vit-base-patch16", "150 M", "the paper's model; everyday photos"),
    ("openai/clip-vit-large-patch14", "428 M", "better and about four times slower"),
    (
        "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
        "150 M",
        "as the first one, trained on open data",
    ),
    ("facebook/metaclip-b16-fullcc2.5b", "150 M", "as the first one, curated web data"),
    ("google/siglip-base-patch16-224", "203 M", "sigmoid loss; often better zero-shot"),
    (
        "google/siglip2-base-patch16-224",
        "375 M",
        "many languages; class names need not be English",
    ),
)


def load_encoder(
    name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DualEncoder:
    """Load an image-text model: "tiny", a Hugging Face directory, or a hub id.

    Raises:
        ModelError: not found, not readable, or of a family that no file of this room accepts.
    """
    where, config, family = _find(name)
    try:
        with without_bar():
            encoder: DualEncoder = family.load(
                where, config, torch.device(device), dtype
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"Model '{name}' cannot be loaded: {_reason(error)}.",
            "Is the directory complete?",
        ) from error
    encoder.name = name
    return encoder


def preprocess_of(name: str) -> Preprocess:
    """How a model wants its pictures, without loading its weights. Raises ModelError as `load` does."""
    where, config, _ = _find(name)
    return Preprocess.from_processor(
        image_processor(where), config.vision_config.image_size
    )


def image_processor(where: str) -> Any:
    """The image processor of a checkpoint, None where it has none."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(where)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """No bar of transformers' own over weights; the hub's over downloads stays, unless progress is off."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    shown, hub_shown = (
        logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    logging.disable_progress_bar()  # switches the hub's off, too
    if hub_shown and not progress.is_quiet():
        enable_progress_bars()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
        (enable_progress_bars if hub_shown else disable_progress_bars)()


def accepts(config: Any) -> bool:
    """Is this transformers configuration of a family of this room?"""
    return any(
        registry.load("models/families", n).accepts(config)
        for n in registry.names("models/families")
    )


def _find(name: str) -> tuple[str, Any, ModuleType]:
    """Where a model is, its configuration, and the file of this room that knows its family."""
    from transformers import AutoConfig

    where = str(TINY) if name == "tiny" else name
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Model '{name}' cannot be loaded: {_reason(error)}.",
            "Use tiny, a Hugging Face directory or a hub id.",
        ) from error
    families = [
        registry.load("models/families", n) for n in registry.names("models/families")
    ]
    for family in families:
        if family.accepts(config):
            return where, config, family
    supported = ", ".join(family.FAMILY for family in families)
    raise ModelError(
        f"Model '{name}' is of family '{config.model_type}', which is not supported.",
        f"Supported: {supported}.",
    )


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
