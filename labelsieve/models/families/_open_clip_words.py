"""Texts to token ids as open_clip's models were trained: its own vocabulary, or a tokenizer of
transformers behind its rules for cleaning text.
"""

from __future__ import annotations

import abc
from typing import Any

from labelsieve.models import hugging_face, trust
from labelsieve.models.families import _open_clip_files as files
from labelsieve.models.families._open_clip_files import Checkpoint

# What a configuration may ask of a tokenizer. The library would hand all of them to
# transformers, `trust_remote_code` included.
SETTINGS = {"clean", "strip_sep_token"}


class Words(abc.ABC):
    """A tokenizer.

    Attributes:
        opening: ids before every text; empty where texts begin with their words.
        padding: id behind the end.
    """

    opening: list[int]
    padding: int

    @abc.abstractmethod
    def words(self, text: str) -> list[int]:
        """Ids of a text alone."""

    @abc.abstractmethod
    def get_vocab(self) -> dict[str, int]:
        """All tokens and their ids."""

    @abc.abstractmethod
    def row(self, text: str) -> list[int]:
        """Ids of a whole text, from its opening to its end token."""


class _Simple(Words):
    """CLIP's byte pair encoding, as it comes inside open_clip."""

    def __init__(self, clean: str) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._inner: Any = SimpleTokenizer(clean=clean)
        self.opening = [self._inner.sot_token_id]
        self.padding = 0

    def words(self, text: str) -> list[int]:
        return list(self._inner.encode(text))

    def get_vocab(self) -> dict[str, int]:
        return dict(self._inner.encoder)

    def row(self, text: str) -> list[int]:
        return [*self.opening, *self.words(text), self._inner.eot_token_id]


class _OfTransformers(Words):
    """A tokenizer of transformers, with what open_clip does to a text before it."""

    def __init__(self, inner: Any, clean: str, strip_sep_token: bool) -> None:
        from open_clip.tokenizer import get_clean_fn

        self._inner = inner
        self._clean = get_clean_fn(clean)
        # models of this kind were trained with zeros where the tokenizer ends a text
        self._stripped = inner.sep_token_id if strip_sep_token else None
        self.padding = inner.pad_token_id or 0
        opens = (
            inner.bos_token_id is not None and self.row("a")[0] == inner.bos_token_id
        )
        self.opening = [inner.bos_token_id] if opens else []

    def words(self, text: str) -> list[int]:
        return list(self._inner(self._clean(text), add_special_tokens=False).input_ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._inner.get_vocab())

    def row(self, text: str) -> list[int]:
        ids = self._inner(self._clean(text)).input_ids
        return [0 if token == self._stripped else token for token in ids]


def read_tokenizer(found: Checkpoint) -> Words:
    """The tokenizer of a checkpoint.

    Raises:
        ModelError: it is not there, or works in a way that is not supported.
    """
    settings = dict(found.text.get("tokenizer_kwargs") or {})
    more = sorted(set(settings) - SETTINGS)
    if more or found.text.get("tokenizer_mode"):
        what = more[0] if more else "tokenizer_mode"
        raise trust.refusal(found.name, f"'{what}' of its tokenizer is not supported")
    place = files.tokenizer_place(found)
    if place is None:
        return _Simple(settings.get("clean", "lower"))
    inner = hugging_face.tokenizer(place)
    if inner is None:
        raise trust.refusal(found.name, f"its tokenizer '{place}' is not there")
    clean = settings.get("clean", "whitespace")
    return _OfTransformers(inner, clean, bool(settings.get("strip_sep_token")))
