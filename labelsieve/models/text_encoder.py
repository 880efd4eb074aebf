"""A model that reads: texts and class names become vectors in one space.

The common layout: a tower that gives a vector for every token, pooled over the tokens, and what
the checkpoint has behind it. A long text is read in windows, whose pooled vectors are averaged by
their lengths, up to `TextPreprocess.windows` of them; with mean pooling that is the mean over all
tokens read.

To methods it is what an image-text model is (`labelsieve.models.encoder`), whose items and class
names pass through the same tower. Shapes: b texts, w windows, t tokens, d width of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.data.text.reading import TextPreprocess
from labelsieve.errors import ModelError
from labelsieve.models import trust
from labelsieve.models.encoder import ClassTokens
from labelsieve.models.identity import Origin

# What cosines are multiplied by: sentence encoders are trained with 20 (Reimers and Gurevych's
# library, MultipleNegativesRankingLoss), and none has it written down.
SCALE = 20.0
# Windows of a text that are read, unless a checkpoint says otherwise.
WINDOWS = 8
# Tokens of windows that pass through the tower at once: 400 MB at 384 numbers and 12 heads.
TOKENS_AT_ONCE = 8192
TEXTS_AT_ONCE = 64  # of a batch, tokenized at once


@dataclass(frozen=True)
class Windows:
    """Texts [b] as windows [w] of tokens.

    ids: of each window, with its special tokens. owner: [w] int64, which text it is of.
    count: b.
    """

    ids: list[list[int]]
    owner: Tensor
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice) -> Windows:
        """Those of texts that follow each other."""
        start, stop, _ = rows.indices(self.count)
        kept = torch.nonzero((self.owner >= start) & (self.owner < stop))[:, 0]
        ids = [self.ids[i] for i in kept.tolist()]
        return Windows(ids, self.owner[kept] - start, max(0, stop - start))


def padded(ids: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as ids and mask [w, t] int64, filled up behind."""
    longest = max(1, *map(len, ids))
    filled = torch.full((len(ids), longest), padding, dtype=torch.int64)
    mask = torch.zeros((len(ids), longest), dtype=torch.int64)
    for row, one in enumerate(ids):
        filled[row, : len(one)] = torch.tensor(one, dtype=torch.int64)
        mask[row, : len(one)] = 1
    return filled, mask


def windows_of(
    tokenizer: Any,
    preprocess: TextPreprocess,
    texts: Sequence[str],
    special: bool = True,
) -> Windows:
    """Texts [b] as windows of tokens.

    Args:
        tokenizer: a fast one of transformers.
        special: whether special tokens frame a window.
    """
    kept: list[list[int]] = []
    owners: list[int] = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = [preprocess.prefix + t for t in texts[start:][:TEXTS_AT_ONCE]]
        encoded = tokenizer(
            part,
            add_special_tokens=special,
            truncation=True,
            max_length=preprocess.window,
            return_overflowing_tokens=True,
        )
        seen = [0] * len(part)
        overflow = encoded["overflow_to_sample_mapping"]
        for ids, number in zip(encoded["input_ids"], overflow, strict=True):
            seen[number] += 1
            # what follows is not read: one text must not take the time of a thousand
            if seen[number] <= preprocess.windows:
                kept.append(list(ids))
                owners.append(start + int(number))
    return Windows(kept, torch.tensor(owners, dtype=torch.int64), len(texts))


def over_windows(
    windows: Windows, at_once: int, compute: Callable[[list[list[int]]], Tensor]
) -> Tensor:
    """Means over the windows of each text, by their lengths, [b, d].

    Args:
        at_once: tokens that are computed together.
        compute: windows [w] -> [w, d].
    """
    lengths = torch.tensor([len(ids) for ids in windows.ids])
    # windows of a length go together, so that little is computed for padding
    order = torch.argsort(lengths, stable=True)
    parts, at = [], 0
    while at < len(order):
        rows = order[at:]
        # the longest of the windows decides how many fit, and they are sorted
        sizes = lengths[rows] * torch.arange(1, len(rows) + 1)
        fit = max(1, int((sizes <= at_once).sum()))
        parts.append(compute([windows.ids[i] for i in rows[:fit].tolist()]))
        at += fit
    vectors = torch.cat(parts)
    rows = windows.owner[order].to(vectors.device)
    weight = lengths[order].clamp(min=1).to(vectors.device, vectors.dtype)[:, None]
    shape = (windows.count, vectors.shape[1])
    total = torch.zeros(shape, dtype=vectors.dtype, device=vectors.device)
    total = total.index_add(0, rows, vectors * weight)
    sums = torch.zeros_like(total[:, :1]).index_add(0, rows, weight)
    return total / sums.clamp(min=1)


@dataclass(frozen=True)
class Pooling:
    """How the vectors of a window's tokens become one; several are put after each other."""

    modes: tuple[str, ...] = ("mean",)

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[w, t, d] and [w, t], 1 where there is a token -> [w, modes * d]."""
        return torch.cat([POOLINGS[mode](hidden, mask) for mode in self.modes], dim=-1)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


def _mean_sqrt(hidden: Tensor, mask: Tensor) -> Tensor:
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1).sqrt()


def _max(hidden: Tensor, mask: Tensor) -> Tensor:
    lowest = torch.finfo(hidden.dtype).min
    return hidden.masked_fill(mask[..., None] == 0, lowest).amax(1)


def _first(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[:, 0]


def _last(hidden: Tensor, mask: Tensor) -> Tensor:
    # padding comes behind, so the last token is where the tokens are counted to
    last = mask.sum(1).long().clamp(min=1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


# By the names that sentence-transformers has for them in 1_Pooling/config.json.
POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "mean": _mean,
    "max": _max,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "lasttoken": _last,
}


class TextEncoder:
    """A tower that reads, frozen.

    Args:
        model: called with `inputs_embeds` [w, t, width] and `attention_mask` [w, t]; what it
            gives has `last_hidden_state`. `get_input_embeddings()` are its token vectors.
        tokenizer: a fast one of transformers.
        head: modules behind the pooling, which take and give [w, d].
        special: whether special tokens frame a window.

    Attributes are those of `labelsieve.models.encoder.DualEncoder`.
    """

    modality = "texts"
    at_once = TOKENS_AT_ONCE
    causal = False
    views = False  # of a text there is one look
    patch_size = 0
    image_tokens = 0
    origin = Origin()

    def __init__(
        self,
        about: tuple[str, str],
        model: Any,
        tokenizer: Any,
        preprocess: TextPreprocess,
        pooling: Pooling,
        head: nn.Module | None = None,
        special: bool = True,
    ) -> None:
        self.name, self.family = about
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.pooling = pooling
        self.logit_scale = SCALE
        self.tower = model.eval().requires_grad_(False)
        self.head = (head or nn.Identity()).eval().requires_grad_(False)
        # one module of all weights, which their fingerprint is made of
        self.model = nn.ModuleDict({"tower": self.tower, "head": self.head})
        self.special = special
        self.image_tower: nn.Module = self.tower
        self.image_layers: Sequence[nn.Module] = ()
        weight = self.tower.get_input_embeddings().weight
        # marks that were added for another model may have none: they are no words
        trust.check_words(self.name, tokenizer, len(weight), added=False)
        self.text_width = self.image_width = int(weight.shape[1])
        self.text_depth = int(getattr(self.tower.config, "num_hidden_layers", 1))
        self.max_text = preprocess.window

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """In which precision."""
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.tower.get_input_embeddings().weight
        return weight

    def to(self, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """The same encoder, moved."""
        self.model.to(device=device, dtype=dtype)
        return self

    # --- items

    def blank(self, count: int = 1) -> list[str]:
        """Texts that say little, of a usual length."""
        return ["a " * 100] * count

    def normalise(self, texts: Sequence[str]) -> Windows:
        """Texts [b] -> what `image_features` takes."""
        return windows_of(self.tokenizer, self.preprocess, texts, self.special)

    def image_features(
        self, windows: Windows, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[b, d] float32 of length one, of what `normalise` gave."""
        pooled = self.pooled(windows)
        return F.normalize(self.head(pooled).float(), dim=-1)

    def pooled(self, windows: Windows) -> Tensor:
        """[b, width] of texts, before the head: means over windows, by their lengths."""
        return over_windows(windows, self.at_once, self._pool)

    def _pool(self, ids: list[list[int]]) -> Tensor:
        return self.of_tokens(*padded(ids, self.padding))

    def of_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask [w, t] -> [w, width], pooled."""
        return self._hidden(self.embed_tokens(ids), mask)

    @property
    def padding(self) -> int:
        """Id of the token that fills windows up."""
        token = self.tokenizer.pad_token_id
        return 0 if token is None else int(token)

    def _hidden(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        mask = mask.to(self.device)
        given = self.tower(inputs_embeds=embeddings, attention_mask=mask)
        return self.pooling(given.last_hidden_state, mask)

    # --- class names

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[n, d] float32 of length one, without gradient."""
        return self.image_features(self.normalise(list(texts)))

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Token ids [..., t] -> [..., t, text_width], without positions."""
        # an added token without a vector, spelt out in a text, is as good as no word
        known = ids.where(ids < len(self._weight), self.padding)
        vectors: Tensor = self.tower.get_input_embeddings()(known.to(self.device))
        return vectors

    def word_ids(self, text: str) -> Tensor:
        """Ids [t] of a text alone, without special tokens."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64, device=self.device)

    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        """Tokens of "NAME." for each name, and its closing special tokens.

        Raises:
            ModelError: one is too long for the tower after the context.
        """
        opening, closing = self._frame()
        rows = [[*self.word_ids(f"{name}.").tolist(), *closing] for name in names]
        longest = max(map(len, rows))
        taken = len(opening) + context_length + longest
        if taken > self.max_text:
            name = names[max(range(len(rows)), key=lambda i: len(rows[i]))]
            raise ModelError(
                f"'{name[:60]}' makes a prompt of {taken} tokens; '{self.name}' takes "
                f"{self.max_text}.",
                "Shorten the class name with --class-names.",
            )
        padded = [row + [self.padding] * (longest - len(row)) for row in rows]
        end = [len(row) - 1 for row in rows]
        ids = torch.tensor(padded, device=self.device)
        return ClassTokens(ids, torch.tensor(end, device=self.device))

    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and behind a text."""
        if not self.special:
            return [], []
        inner = self.word_ids("a").tolist()
        whole = list(self.tokenizer("a")["input_ids"])
        for start in range(len(whole) - len(inner) + 1):
            if whole[start : start + len(inner)] == inner:
                return whole[:start], whole[start + len(inner) :]
        return [], []

    def prompt_features(
        self, contexts: Tensor, tokens: ClassTokens, *, plain: bool = False
    ) -> Tensor:
        """Features of learned prompts, with gradient to the contexts.

        Args:
            contexts: [c, m, text_width] float32.
            tokens: of k classes.

        Returns:
            [c, k, d] float32 of length one.
        """
        count, k = len(contexts), len(tokens.ids)
        opening = torch.tensor(self._frame()[0], dtype=torch.int64)
        start = self.embed_tokens(opening).expand(count, k, -1, -1)
        context = contexts.to(self.dtype)[:, None].expand(-1, k, -1, -1)
        names = self.embed_tokens(tokens.ids).expand(count, -1, -1, -1)
        embeddings = torch.cat([start, context, names], dim=2).flatten(0, 1)
        places = torch.arange(tokens.ids.shape[1], device=self.device)
        inside = (places <= tokens.end[:, None]).long()
        before = torch.ones((k, embeddings.shape[1] - inside.shape[1]))
        mask = torch.cat([before.to(inside), inside], dim=1).repeat(count, 1)
        features = self.head(self._hidden(embeddings, mask)).float()
        return F.normalize(features, dim=-1).unflatten(0, (count, k))
