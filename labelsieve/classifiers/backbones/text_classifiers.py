"""Sequence classifiers of transformers, by directory or hub id: BERT and its like.

A long text is read in windows, whose logits are averaged by their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelsieve.classifiers.backbone import Backbone, names_in, seeded
from labelsieve.classifiers.backbones import _files as files
from labelsieve.classifiers.backbones import _hub
from labelsieve.classifiers.backbones.text_towers import (
    AT_ONCE,
    LIBRARY,
    is_classifier,
)
from labelsieve.classifiers.inputs.texts import Texts
from labelsieve.data.text.reading import TextPreprocess
from labelsieve.models import hugging_face, trust
from labelsieve.models.families import _text_files
from labelsieve.models.text_encoder import (
    WINDOWS,
    Windows,
    over_windows,
    padded,
    windows_of,
)

FAMILY = "text classifiers of transformers"


class WindowedClassifier(nn.Module):
    """A sequence classifier that is asked about every window of a text."""

    def __init__(self, model: Any, padding: int) -> None:
        super().__init__()
        self.model = model
        self.padding = padding

    def forward(self, windows: Windows) -> Tensor:
        """Windows of texts [b] -> [b, k]."""
        return over_windows(windows, AT_ONCE, self._logits)

    def _logits(self, ids: list[list[int]]) -> Tensor:
        return self.of_tokens(*padded(ids, self.padding))

    def of_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask [w, t] -> [w, k]."""
        device = self.model.device
        # kinds of tokens, where a family has them, are all of the first by default
        answer = self.model(input_ids=ids.to(device), attention_mask=mask.to(device))
        logits: Tensor = answer.logits
        return logits.float()


def claims(name: str) -> bool:
    """Whether transformers saved it with a head that classifies texts."""
    if files.config_of(name).get(files.LIBRARY) == LIBRARY:
        return False
    return is_classifier(name)


def recipe(name: str) -> str:
    """The usual one for towers that read."""
    return "text"


def build(
    name: str, classes: Sequence[str], seed: int, device: torch.device
) -> Backbone:
    """A checkpoint with a new head."""
    config = hugging_face.read_config(name)
    _hub.name_classes(config, classes)
    with seeded(seed):
        model = hugging_face.read_model(name, _kind(), config, new_head=True)
        for head in _heads(model):
            # a head of as many classes would else stay, with other classes in mind
            head.reset_parameters()
    return _backbone(name, model, config, device)


def open_saved(folder: str, device: torch.device) -> tuple[Backbone, list[str]]:
    """Any sequence classifier of transformers, and its classes."""
    config = hugging_face.read_config(folder)
    # by number: logits have no other names
    classes = files.classes_of(folder, config.id2label)
    if getattr(config, "problem_type", None) in (
        "regression",
        "multi_label_classification",
    ):
        raise trust.refusal(folder, f"it is made for {config.problem_type}")
    model = hugging_face.read_model(folder, _kind(), config)
    return _backbone(folder, model, config, device), classes


def _kind() -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification


def _backbone(name: str, model: Any, config: Any, device: torch.device) -> Backbone:
    words = hugging_face.tokenizer(name)
    if words is None:
        raise trust.refusal(name, "it has no tokenizer", trust.COMPLETE)
    trust.check_words(name, words, len(model.get_input_embeddings().weight))
    preprocess = TextPreprocess(_text_files.window_of(name, config), WINDOWS)
    # masked, so any token will do where a tokenizer has none for it
    padding = int(words.pad_token_id or 0)
    whole = WindowedClassifier(model.to(device), padding)
    # the head is what stands outside the body, whatever a family calls it
    body = names_in(whole, model.base_model)
    every = frozenset(n for n, _ in whole.named_parameters())
    linear = _heads(model)
    reads: Callable[[Sequence[str]], Windows] = partial(windows_of, words, preprocess)
    return Backbone(
        whole,
        preprocess,
        head=every - body,
        linear=linear[0] if len(linear) == 1 else None,
        save=partial(_save, model, words),
        save_memory=partial(_hub.save_memory, model),
        reads=Texts(preprocess, reads, padding),
    )


def _heads(model: Any) -> list[nn.Linear]:
    """The linear layers behind the body."""
    inner = set(model.base_model.modules())
    return [m for m in model.modules() if m not in inner and isinstance(m, nn.Linear)]


def _save(model: Any, words: Any, classes: Sequence[str], folder: Path) -> None:
    _hub.name_classes(model.config, classes)
    with hugging_face.without_bar(), hugging_face.hushed():
        model.save_pretrained(folder)
        words.save_pretrained(folder)
