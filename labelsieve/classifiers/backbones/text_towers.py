"""Encoders that read, with a linear head: sentence encoders, BERT and its like, `hashing`.

The head is given what every method of a scan is given: the encoder's own vector of a text, of
length one, over all its windows. What is saved is a folder of transformers' encoder with the head
as two more tensors, `classifier.weight` and `classifier.bias`, and the pooling in its config.json;
of encoders that are a table of vectors the table is not trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.classifiers.backbones import _hub
from labelsieve.classifiers.inputs.texts import Texts
from labelsieve.data.text.reading import TextPreprocess
from labelsieve.errors import ModelError
from labelsieve.models import hugging_face, trust
from labelsieve.models.families import _text_files, hashing
from labelsieve.models.families._text_towers import StaticTower
from labelsieve.models.families.sentence_transformers import ACTIVATIONS
from labelsieve.models.load import claimant, load_encoder
from labelsieve.models.text_encoder import POOLINGS, Pooling, TextEncoder

FAMILY = "encoders that read"
NAMES = hashing.NAMES  # without any file
LIBRARY = "labelsieve-text"  # of a config.json
READER = "TextTowerClassifier"  # in its `architectures`
# Tokens that are trained on together: with fewer, windows of more even lengths are padded less.
AT_ONCE = 2048
# The largest window that a stranger's configuration may ask for.
LONGEST = 8192


class TextTowerClassifier(nn.Module):
    """A linear layer on the vector of length one that an encoder has for a text."""

    def __init__(self, encoder: TextEncoder, width: int, classes: int) -> None:
        super().__init__()
        # no module of its own, so it is not among the weights a second time
        self.encoder = encoder
        encoder.at_once = AT_ONCE
        self.dense = encoder.head
        if not isinstance(encoder.tower, StaticTower):
            self.add_module(prefix_of(encoder.tower), encoder.tower)
        self.classifier = nn.Linear(width, classes, device=encoder.device)

    def forward(self, windows: Any) -> Tensor:
        """Windows of texts [b] -> [b, k]."""
        return self.classifier(self.encoder.image_features(windows))

    def of_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask [b, t], one window per text -> [b, k]."""
        pooled = self.encoder.head(self.encoder.of_tokens(ids, mask))
        return self.classifier(nn.functional.normalize(pooled.float(), dim=-1))


def prefix_of(tower: Any) -> str:
    """What transformers puts before the names of a tower's weights, such as "bert"."""
    return str(getattr(tower, "base_model_prefix", "") or "tower")


def claims(name: str) -> bool:
    """Whether it is an encoder of texts, or was saved here."""
    if files.config_of(name).get(files.LIBRARY) == LIBRARY:
        return True
    if is_classifier(name):
        return False
    family = claimant("models/families", name)
    return getattr(family, "MODALITY", "images") == "texts"


def is_classifier(name: str) -> bool:
    """Whether transformers has saved it with a head that classifies texts."""
    if name in NAMES:
        return False
    try:
        config = hugging_face.read_config(name)
    except ModelError:  # a table of vectors has none
        return False
    written = hugging_face.architecture_of(config)
    return written.endswith("ForSequenceClassification")


def recipe(name: str) -> str:
    """Tables of vectors are only probed."""
    about = files.config_of(name)
    static = about.get("static") or about.get("model_type") == hashing.FAMILY
    return "probe" if static or name in NAMES or _is_table(name) else "text"


def _is_table(name: str) -> bool:
    """Whether it is a table of vectors in the layout of sentence-transformers."""
    modules = _text_files.modules(name) or []
    # what stands behind it is read by its family, and nothing of it is trained
    return any(module.kind == "StaticEmbedding" for module in modules[:1])


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """An encoder, or one that was saved here, with a new head."""
    if files.config_of(name).get(files.LIBRARY) == LIBRARY:
        encoder: Any = _read(name, device).encoder
    else:
        encoder = load_encoder(name, device=device)
    return _with_head(encoder, classes, seed)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """What was saved here, and its classes."""
    about = files.config_of(folder)
    if about.get(files.LIBRARY) != LIBRARY:
        help = "Train one with 'labelsieve train RUN --student'."
        raise trust.refusal(folder, "it has no head that classifies", help)
    classes = files.classes_of(folder, about.get("id2label"))
    return _backbone(_read(folder, device)), classes


def _with_head(encoder: TextEncoder, classes: Sequence[str], seed: int) -> Backbone:
    # asked, since dense layers may stand behind the pooling
    width = encoder.text_features(["a"]).shape[1]
    with seeded(seed):
        model = TextTowerClassifier(encoder, width, len(classes))
    return _backbone(model)


def _backbone(model: TextTowerClassifier) -> Backbone:
    encoder = model.encoder
    tower = encoder.tower
    static = isinstance(tower, StaticTower)
    # of a table of vectors the head alone is trained
    layers = None if static else _layers(tower)
    blocks = model.classifier if layers is None else layers
    # an encoder offers to training what an image-text model does
    opened: Any = encoder
    return Backbone(
        model,
        encoder.preprocess,
        head=names_in(model, model.classifier),
        linear=model.classifier,
        save=partial(_save, model),
        save_memory=partial(_hub.save_memory, tower),
        blocks=names_in(model, blocks),
        encoder=lambda: opened,
        reads=Texts(encoder.preprocess, encoder.normalise, encoder.padding),
        common=True,
    )


def _layers(tower: Any) -> Any:
    """The blocks of a tower; all of it where they are called otherwise."""
    for inner in (getattr(tower, "encoder", None), getattr(tower, "transformer", None)):
        layers = getattr(inner, "layer", None)
        if isinstance(layers, nn.ModuleList):
            return layers
    return tower


# --- files


def _save(model: TextTowerClassifier, classes: Sequence[str], folder: Path) -> None:
    encoder = model.encoder
    about: dict[str, Any] = {}
    if not isinstance(encoder.tower, StaticTower):
        about = encoder.tower.config.to_dict()
    named = {str(number): name for number, name in enumerate(classes)}
    about |= {files.LIBRARY: LIBRARY, "architectures": [READER], "id2label": named}
    about |= {"label2id": {name: k for k, name in enumerate(classes)}}
    # what no configuration of transformers says, and every answer depends on
    about["reading"] = asdict(encoder.preprocess)
    about["pooling"] = list(encoder.pooling.modes)
    about["special_tokens"] = encoder.special
    about["dense"] = [_dense_of(layer) for layer in encoder.head.children()]
    # fixed signs are made again: 80 MB that need not be stored
    if encoder.family == hashing.FAMILY:
        about["model_type"] = hashing.FAMILY
    elif isinstance(encoder.tower, StaticTower):
        about["static"] = list(encoder.tower.embedding.weight.shape)
    text = json.dumps(about, indent=2, ensure_ascii=False, default=str)
    (folder / files.CONFIG).write_text(f"{text}\n", encoding="utf-8")
    if "static" in about:
        # nothing of it was trained, and it is needed to read
        model = _with_table(model)
    files.write_tensors(model, folder / trust.WEIGHTS)
    # hashed words need no files
    if hasattr(encoder.tokenizer, "save_pretrained"):
        with hugging_face.hushed():
            encoder.tokenizer.save_pretrained(folder)


def _with_table(model: TextTowerClassifier) -> Any:
    """The same weights and the table of vectors, for the file alone."""
    # the names of the tensors are those of this module's attributes
    whole = nn.Module()
    whole.classifier, whole.dense = model.classifier, model.dense
    whole.tower = model.encoder.tower
    return whole


def _dense_of(layer: Any) -> list[Any]:
    """Sizes, bias and activation of a dense layer behind the pooling."""
    linear, activation = layer
    bias = linear.bias is not None
    sizes = [linear.in_features, linear.out_features]
    return [*sizes, bias, type(activation).__name__]


def _read(folder: str, device: torch.device) -> TextTowerClassifier:
    about = files.config_of(folder)
    with hugging_face.one_line(folder):
        model = _described(folder, about)
        if "static" in about:
            whole = _with_table(model)
            files.read_into(folder, whole, Path(folder) / trust.WEIGHTS)
        else:
            files.read_into(folder, model, Path(folder) / trust.WEIGHTS)
    model.encoder.model.to(device)
    return model.to(device)


def _described(folder: str, about: Mapping[str, Any]) -> TextTowerClassifier:
    """The module that a configuration describes; its weights are still any."""
    classes = files.classes_of(folder, about.get("id2label"))
    head = nn.Sequential(*(_dense(folder, one) for one in about.get("dense", ())))
    if about.get("model_type") == hashing.FAMILY:
        encoder: Any = hashing.load(NAMES[0], torch.device("cpu"), torch.float32)
        return TextTowerClassifier(encoder, hashing.WIDTH, len(classes))
    words = hugging_face.tokenizer(folder)
    if words is None:
        raise trust.refusal(folder, "it has no tokenizer", trust.COMPLETE)
    static = about.get("static")
    tower = _table(folder, static) if static else _tower(folder)
    pooling = Pooling(tuple(about.get("pooling", ())))
    if not pooling.modes or not set(pooling.modes) <= set(POOLINGS):
        raise trust.refusal(folder, "its config.json names no pooling that is known")
    special = bool(about.get("special_tokens", True))
    parts = (tower, words, _reading(folder, about), pooling, head, special)
    encoder = TextEncoder((folder, FAMILY), *parts)
    width = _width(encoder, head)
    return TextTowerClassifier(encoder, width, len(classes))


def _width(encoder: TextEncoder, head: nn.Sequential) -> int:
    """Of the vectors that the classifier is given."""
    own = encoder.text_width
    # pooled vectors stand behind each other, one for each mode
    width = getattr(getattr(encoder.tower, "config", None), "hidden_size", own)
    width = int(width) * len(encoder.pooling.modes)
    for layer in head.children():
        first: Any = next(layer.children())
        width = int(first.out_features)
    return width


def _reading(folder: str, about: Mapping[str, Any]) -> TextPreprocess:
    kept = about.get("reading")
    if not isinstance(kept, Mapping) or not 1 <= int(kept["window"]) <= LONGEST:
        raise trust.refusal(folder, "its config.json does not say how it reads")
    # a stranger's numbers decide how long a text keeps the machine busy
    windows = min(max(1, int(kept["windows"])), 64)
    return TextPreprocess(int(kept["window"]), windows, str(kept["prefix"])[:500])


def _dense(folder: str, about: Any) -> nn.Module:
    before, after, bias, activation = about
    if activation not in ACTIVATIONS:
        raise trust.refusal(folder, f"its dense layer names '{str(activation)[:40]}'")
    linear = nn.Linear(int(before), int(after), bool(bias))
    return nn.Sequential(linear, ACTIVATIONS[activation]())


def _table(folder: str, shape: Sequence[int]) -> StaticTower:
    path = Path(folder) / trust.WEIGHTS
    # as large as the file says, never as large as the configuration does
    stored = files.shape_in(folder, path, "tower.embedding.weight")
    if list(shape) != stored:
        raise trust.refusal(folder, "its table has another shape than it says")
    return StaticTower(torch.zeros(stored))


def _tower(folder: str) -> Any:
    from transformers import AutoModel, AutoModelForTextEncoding

    config = hugging_face.read_config(folder)
    # of two towers, the one that reads
    both = bool(getattr(config, "is_encoder_decoder", False))
    kind: Any = AutoModelForTextEncoding if both else AutoModel
    # sizes first, without memory for them: what a file does not fill is refused
    described = hugging_face.describe(
        lambda: kind.from_config(config, trust_remote_code=False)
    )
    path = Path(folder)
    stored = trust.count_numbers(folder, trust.weight_files(folder, path))
    trust.check_size(folder, described, stored)
    with seeded(0):
        tower = kind.from_config(config, trust_remote_code=False)
    # none was saved, as nothing here pools with it
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None
    return tower
