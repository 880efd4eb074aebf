"""What backbones of transformers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from labelsieve.classifiers.backbones import _files as files
from labelsieve.data.images import Preprocess
from labelsieve.models import hugging_face

WHOLE = 384  # as in transformers' ConvNextImageProcessor


def name_classes(config: Any, classes: Sequence[str]) -> None:
    """Write the classes into a configuration."""
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}


def preprocess_for(name: str, processor: Any, config: Any) -> Preprocess:
    """How an image classifier wants its pictures."""
    size: Any = getattr(config, "image_size", None)
    if size is None:
        size = getattr(getattr(config, "vision_config", None), "image_size", files.SIDE)
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


def save_memory(body: Any) -> None:
    """Keep no activations of the blocks; they are computed again for the gradient.

    Raises:
        OptionError: the model cannot do that.
    """
    try:
        body.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    except ValueError as error:
        raise files.no_checkpointing(body) from error
