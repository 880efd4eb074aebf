"""Prompts of a causal text tower: start and context are computed once for all classes."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from labelsieve.models.blocks import causal_mask, run_prefix, run_suffix, text_block
from labelsieve.models.encoder import ClassTokens, DualEncoder


class SharedPrefix(DualEncoder):
    """The text side of encoders that read a text at its end token."""

    text_layers: Sequence[nn.Module]

    @abc.abstractmethod
    def _positions(self, start: int, stop: int) -> Tensor:
        """[stop - start, text_width], what the tower adds at these positions."""

    @abc.abstractmethod
    def _start(self, count: int) -> Tensor:
        """[count, 1, text_width], what stands before every text; [count, 0, text_width] where
        nothing does.
        """

    @abc.abstractmethod
    def _read(self, states: Tensor) -> Tensor:
        """[..., text_width], the last block at the end token -> [..., d], the common space."""

    def encode_texts(self, embeddings: Tensor, end: Tensor) -> Tensor:
        x = embeddings.to(self.dtype) + self._positions(0, embeddings.shape[1])
        mask = causal_mask(x.shape[1], x.device) if self.causal else None
        for layer in self.text_layers:
            x = text_block(layer, x, mask)
        return self._read(x[torch.arange(len(x), device=x.device), end])

    def encode_after_prefix(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        start = self._start(len(contexts))
        opening = torch.cat([start, contexts.to(self.dtype)], 1)
        length = opening.shape[1]
        prefix = run_prefix(self.text_layers, opening + self._positions(0, length))
        # the classes' own tokens stand after the prefix
        positions = self._positions(length, length + tokens.ids.shape[1])
        own = self.embed_tokens(tokens.ids) + positions
        own = own.expand(len(contexts), -1, -1, -1)
        return self._read(run_suffix(self.text_layers, own, tokens.end, prefix))

    def from_ids(self, rows: Sequence[Tensor]) -> ClassTokens:
        """Class tokens from ids that are there already, each [s_k], ending with the end token."""
        # any id will do: text is causal, and padding stands after its end
        ids = pad_sequence(list(rows), batch_first=True, padding_value=0)
        end = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        return ClassTokens(ids.to(self.device), end)
