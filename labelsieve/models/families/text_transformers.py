"""Encoders of transformers that read: BERT, RoBERTa, XLM-R, MPNet, DeBERTa and their like.

A checkpoint without a modules.json; the mean over the tokens is the vector of a text, as what
pre-training pooled with was made for another task.
"""

from __future__ import annotations

import torch

from labelsieve.data.text.reading import TextPreprocess
from labelsieve.models import blocks, hugging_face, trust
from labelsieve.models.families import _text_files as files
from labelsieve.models.families._text_towers import read_tower
from labelsieve.models.text_encoder import WINDOWS, Pooling, TextEncoder

FAMILY = "text encoders of transformers"
MODALITY = "texts"
TYPICAL = 128  # tokens of a text, for an estimate of the arithmetic


def claims(name: str) -> bool:
    """Whether its configuration is of a model that fills gaps in texts, or encodes them."""
    if files.find(name, files.MODULES) is not None:
        return False
    from transformers.models.auto import modeling_auto as auto

    kinds = {
        *auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
    }
    return str(hugging_face.read_config(name).model_type) in kinds


def preprocess_of(name: str) -> TextPreprocess:
    """How much of a text it reads."""
    config = hugging_face.read_config(name)
    return TextPreprocess(files.window_of(name, config), WINDOWS)


def operations(name: str) -> float:
    """Floating-point operations of a text of usual length; 0 where sizes have other names."""
    config = hugging_face.read_config(name)
    width = getattr(config, "hidden_size", 0)
    return blocks.operations(TYPICAL, width, getattr(config, "num_hidden_layers", 0))


def load(name: str, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """Load a checkpoint; its tower is frozen."""
    words = hugging_face.tokenizer(name)
    if words is None:
        raise trust.refusal(name, "it has no tokenizer", trust.COMPLETE)
    parts = (read_tower(name), words, preprocess_of(name), Pooling())
    return TextEncoder((name, FAMILY), *parts).to(device, dtype)
