"""Sentence encoders in the layout of sentence-transformers, opened without its code.

Reimers and Gurevych, "Sentence-BERT", EMNLP 2019. Read are transformers with a pooling, dense
layers behind it, and static token vectors (StaticEmbedding); other modules of the library are
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from labelsieve.data.text.reading import TextPreprocess
from labelsieve.models import blocks, hugging_face, trust
from labelsieve.models.families import _text_files as files
from labelsieve.models.families._text_towers import StaticTower, read_tower
from labelsieve.models.text_encoder import WINDOWS, Pooling, TextEncoder

FAMILY = "Sentence Transformers"
MODALITY = "texts"
# Modules that are read; Normalize is what every feature goes through anyway.
KNOWN = ("Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding")
# Activations that a dense layer may name, by the class of torch.
ACTIVATIONS = {"Tanh": nn.Tanh, "Identity": nn.Identity, "GELU": nn.GELU}
TYPICAL = 128  # tokens of a text, for an estimate of the arithmetic
# A static encoder reads words one by one; so many of a text say what it is about.
STATIC_WINDOW = 1024


def claims(name: str) -> bool:
    """Whether its folder has a modules.json; what that names is checked when it is opened."""
    return files.find(name, files.MODULES) is not None


def preprocess_of(name: str) -> TextPreprocess:
    """How much of a text it reads."""
    first = _checked(name)[0]
    prefix = files.prefix_of(name)
    if first.kind == "StaticEmbedding":
        return TextPreprocess(STATIC_WINDOW, WINDOWS, prefix)
    config = hugging_face.read_config(_tower_name(name, first))
    return TextPreprocess(files.window_of(name, config, first.path), WINDOWS, prefix)


def operations(name: str) -> float:
    """Floating-point operations of a text of usual length."""
    first = _checked(name)[0]
    if first.kind == "StaticEmbedding":
        return 0.0
    config = hugging_face.read_config(_tower_name(name, first))
    return blocks.operations(TYPICAL, config.hidden_size, config.num_hidden_layers)


def load(name: str, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """Load a checkpoint; its tower is frozen."""
    first, *rest = _checked(name)
    static = first.kind == "StaticEmbedding"
    about = (name, FAMILY)
    pooling, head = Pooling(), nn.Sequential()
    for module in rest:
        if module.kind == "Pooling":
            pooling = files.pooling_of(name, module.path)
        elif module.kind == "Dense":
            head.append(_dense(name, module.path))
    tower = _static(name, first.path) if static else None
    if tower is None:
        tower = read_tower(_tower_name(name, first))
    words = hugging_face.tokenizer(_tower_name(name, first))
    if words is None:
        raise trust.refusal(name, "it has no tokenizer", trust.COMPLETE)
    parts = (tower, words, preprocess_of(name), pooling, head)
    return TextEncoder(about, *parts, special=not static).to(device, dtype)


def _checked(name: str) -> Sequence[files.Module]:
    """The modules; raises ModelError where one is not read here."""
    listed = files.modules(name) or []
    for module in listed:
        if module.kind not in KNOWN:
            raise trust.refusal(
                name,
                f"its {files.MODULES} names {module.kind[:60]}",
                f"Read are: {', '.join(KNOWN)}. Other encoders take part by --embeddings.",
            )
    if not listed or listed[0].kind not in ("Transformer", "StaticEmbedding"):
        raise trust.refusal(
            name, f"its {files.MODULES} begins with no tower that reads"
        )
    return listed


def _tower_name(name: str, first: files.Module) -> str:
    """The checkpoint of the tower: a folder in the model's own in old ones."""
    folder = hugging_face.path_of(name)
    return f"{folder}/{first.path}" if first.path else name


def _static(name: str, path: str) -> StaticTower:
    tensors = _tensors(name, path)
    rows = tensors.get("embedding.weight")
    if rows is None or rows.ndim != 2:
        raise trust.refusal(name, "it has no matrix 'embedding.weight'", trust.COMPLETE)
    scale = tensors.get("embedding.scale")
    vectors = rows.float() if scale is None else rows.float() * scale.float()
    return StaticTower(vectors)


def _dense(name: str, path: str) -> nn.Module:
    config: Any = files.read(name, files.inside(path, "config.json")) or {}
    tensors = _tensors(name, path)
    weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    called = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    if weight is None or weight.ndim != 2 or called not in ACTIVATIONS:
        raise trust.refusal(name, f"its dense layer '{path}' cannot be read")
    if not weight.numel():
        reason = f"the weights of its dense layer '{path}' are {list(weight.shape)}"
        raise trust.refusal(name, reason, trust.COMPLETE)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.load_state_dict(
        {key.removeprefix("linear."): value.float() for key, value in tensors.items()}
    )
    return nn.Sequential(layer, ACTIVATIONS[called]())


def _tensors(name: str, path: str) -> dict[str, Tensor]:
    """Weights of a module that transformers does not know."""
    located = files.find(name, files.inside(path, trust.WEIGHTS))
    if located is None:
        raise trust.refusal(name, f"'{path or name}' has no {trust.WEIGHTS}")
    with hugging_face.one_line(name):
        tensors: dict[str, Tensor] = load_file(located)
        trust.check_weights(name, tensors)
    return tensors
