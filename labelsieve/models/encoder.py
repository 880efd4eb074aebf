"""What the rest of the package knows of an image-text model, whatever its family.

Towers are frozen; prompts and adapters are learned beside them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelsieve.data.images import Preprocess
from labelsieve.errors import ModelError
from labelsieve.models.blocks import own_block, run_image_blocks
from labelsieve.models.identity import Origin

# Classes are encoded in parts, recomputed for the gradient, when what all would keep for
# it is more than so many bytes.
MEMORY_AT_ONCE = 1.5e9
# numbers that a token takes for the gradient, per block and unit of its width
# (benchmarks/bench_memory.py)
KEPT = 20
TEXTS_AT_ONCE = 256  # whole texts without gradient: a few hundred MB at ViT-B's width
FEWEST_AT_ONCE = 8  # classes: fewer would only add overhead, however large the tower
# Bytes of the widest activation of pictures that pass through the image tower of a processor at
# once. glibc gives blocks above 32 MiB back to the system and asks for them anew each time, and
# every page is cleared first: a quarter to a third of all processor time (docs/guide/speed.md)
ACTIVATION = 16 * 2**20
WIDENED = 4  # times the width of the tower are the numbers of a token within a block


@dataclass(frozen=True)
class ClassTokens:
    """The tokens of each class after the context: name, ".", end.

    ids: [k, s] int64, padded after the end token. end: [k] int64, position of the end token.
    """

    ids: Tensor
    end: Tensor

    def take(self, columns: Tensor) -> ClassTokens:
        """The given classes only, [j] int64."""
        return ClassTokens(self.ids[columns], self.end[columns])


class DualEncoder(abc.ABC):
    """An image tower and a text tower with a common space.

    All features it gives are float32 and of length one.

    Attributes:
        name: as the user wrote it.
        family: e.g. "CLIP".
        preprocess: how pictures are prepared.
        logit_scale: what cosines are multiplied by (CLIP: 100), the inverse of the softmax
            temperature.
        image_tower: the frozen image tower; adapters are put into it.
        image_layers: its blocks.
        image_width, image_tokens: width and number of its tokens without prompts.
        text_width, text_depth, max_text: width, number of blocks and longest text of the
            text tower.
        patch_size: in pixels.
        causal: whether the text tower is, so that prefixes can be shared.
        origin: the files it was loaded from.
    """

    name: str
    family: str
    preprocess: Preprocess
    logit_scale: float
    image_tower: nn.Module
    image_layers: Sequence[nn.Module]
    image_width: int
    image_tokens: int
    text_width: int
    text_depth: int
    max_text: int
    patch_size: int
    causal: bool
    device: torch.device
    dtype: torch.dtype
    tokenizer: Any
    origin: Origin = Origin()

    @abc.abstractmethod
    def image_pooled(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[b, 3, height, width] normalised -> [b, image_width], before the projection into
        the common space.

        Args:
            prompts: one [p, image_width] per block (deep), or a single one (shallow).
        """

    @abc.abstractmethod
    def project_image(self, pooled: Tensor) -> Tensor:
        """[b, image_width] -> [b, d], not normalised."""

    @abc.abstractmethod
    def encode_texts(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Whole texts, token by token, the plain way: [n, t, text_width] without positions
        -> [n, d], not normalised.
        """

    @abc.abstractmethod
    def encode_after_prefix(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        """As `plain_prompts`, with start and context computed once for all classes: [c, m,
        text_width] -> [c, k, d].
        """

    @abc.abstractmethod
    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Token ids [..., t] -> [..., t, text_width], without positions."""

    @abc.abstractmethod
    def prompt_embeddings(
        self, contexts: Tensor, tokens: ClassTokens
    ) -> tuple[Tensor, Tensor]:
        """Full prompts: contexts [c, m, text_width] -> embeddings [c * k, t, text_width]
        and end positions [c * k].
        """

    @abc.abstractmethod
    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        """Tokens of "NAME." for each name. Raises ModelError when one is too long for the
        tower after the context.
        """

    @abc.abstractmethod
    def word_ids(self, text: str) -> Tensor:
        """Ids [t] of a text alone, without start, end and padding."""

    @abc.abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Whole texts -> ids [n, t] and end positions [n]."""

    def image_features(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        """[b, 3, height, width] normalised pixels -> [b, d] float32 of length one.

        Without a gradient a processor takes a few pictures at a time (`ACTIVATION`).
        """
        # what a gradient needs is kept in any case, and a GPU has an allocator of its own
        if torch.is_grad_enabled() or pixels.device.type != "cpu":
            return self._features_at_once(pixels, prompts)
        parts = pixels.split(self._pictures_at_once())
        return torch.cat([self._features_at_once(part, prompts) for part in parts])

    def _features_at_once(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None
    ) -> Tensor:
        pooled = self.image_pooled(pixels, prompts)
        return F.normalize(self.project_image(pooled).float(), dim=-1)

    def _pictures_at_once(self) -> int:
        numbers = WIDENED * self.image_width * self.image_tokens
        return max(1, ACTIVATION // (numbers * self.dtype.itemsize))

    def image_start(self, pixels: Tensor) -> Tensor:
        """Input of the first block, [b, n, image_width], patches last, row by row."""
        raise ModelError(
            f"'{self.name}' gives no features of patches.",
            "Take a CLIP or SigLIP with a vision transformer.",
        )

    def pool_image(self, x: Tensor) -> Tensor:
        """Output of the last block, [b, n, image_width] -> [b, image_width], pooled."""
        raise ModelError(f"'{self.name}' gives no features of patches.")

    @torch.no_grad()
    def image_patches(self, pixels: Tensor) -> Tensor:
        """Features of the patches of pictures in the common space, without gradient.

        In the last block patches look at themselves alone, and each is pooled as if it were all
        there is: their features of the whole tower are less local.

        Args:
            pixels: as in `image_features`.

        Returns:
            [b, rows, columns, d] float32 of length one.

        Raises:
            ModelError: the family has no patches, or the tower pools them in another way.
        """
        size = (pixels.shape[2] // self.patch_size, pixels.shape[3] // self.patch_size)
        x = self.image_start(pixels)
        x = run_image_blocks(self.image_layers[:-1], x, None, class_token_only=False)
        # whatever else there is (class token, registers) stands before them
        x = own_block(self.image_layers[-1], x)[:, -size[0] * size[1] :]
        pooled = self.pool_image(x.flatten(0, 1)[:, None])
        features = F.normalize(self.project_image(pooled).float(), dim=-1)
        if not torch.isfinite(features).all():
            raise ModelError(f"'{self.name}' pools patches in a way that leaves none.")
        return features.unflatten(0, (len(pixels), *size))

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[n, d] float32 of length one, without gradient."""
        parts = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            ids, end = self.tokenize(texts[start : start + TEXTS_AT_ONCE])
            parts.append(self.encode_texts(self.embed_tokens(ids), end).float())
        return F.normalize(torch.cat(parts), dim=-1)

    def prompt_features(
        self, contexts: Tensor, tokens: ClassTokens, *, plain: bool = False
    ) -> Tensor:
        """Features of learned prompts, with gradient to the contexts.

        Args:
            contexts: [c, m, text_width] float32.
            tokens: of k classes.
            plain: encode every prompt whole even where the prefix could be shared (a
                reference for tests).

        Returns:
            [c, k, d] float32 of length one.
        """
        # only a causal tower has the same states for a prefix, whatever follows
        shared = self.causal and not plain
        encode = self.encode_after_prefix if shared else self.plain_prompts
        length = tokens.ids.shape[1] if shared else self.max_text
        size = self._classes_at_once(len(contexts) * length)
        if len(tokens.ids) <= size:
            return F.normalize(encode(contexts, tokens).float(), dim=-1)
        features = []
        for ids, end in zip(
            tokens.ids.split(size), tokens.end.split(size), strict=True
        ):
            part = ClassTokens(ids, end)
            vectors = _Recomputed.apply(contexts, encode, part)  # type: ignore[no-untyped-call]
            features.append(vectors)
        return F.normalize(torch.cat(features, 1).float(), dim=-1)

    def _classes_at_once(self, tokens: int) -> int:
        """How many classes of so many tokens each are encoded in one part."""
        numbers = KEPT * self.text_width * self.text_depth * tokens
        at_once = int(MEMORY_AT_ONCE / (numbers * self.dtype.itemsize))
        return max(FEWEST_AT_ONCE, at_once)

    def plain_prompts(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        """[c, m, text_width] -> [c, k, d] by encoding each of the c * k prompts whole."""
        embeddings, end = self.prompt_embeddings(contexts, tokens)
        return self.encode_texts(embeddings, end).unflatten(0, (len(contexts), -1))

    def blank(self, count: int = 1) -> Tensor:
        """Inputs that show nothing: gray pictures, uint8 [count, 3, height, width]."""
        shape = (count, 3, self.preprocess.height, self.preprocess.width)
        return torch.full(shape, 128, dtype=torch.uint8)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 or float in 0..255, [b, 3, height, width] -> what the image tower wants,
        on its device.
        """
        return normalise(pixels, self.preprocess, self.device).to(self.dtype)


class _Recomputed(torch.autograd.Function):
    """Text features of some classes that keep nothing for the gradient but the contexts.

    torch.utils.checkpoint would do the same, but leaves a graph whose many small objects
    tear the heap apart: with 1,000 classes at ViT-B/16's shape a gigabyte that is free
        cannot be used again.
    """

    @staticmethod
    def forward(
        context: Any,
        contexts: Tensor,
        encode: Callable[[Tensor, ClassTokens], Tensor],
        tokens: ClassTokens,
    ) -> Tensor:
        context.save_for_backward(contexts)
        context.encode, context.tokens = encode, tokens
        return encode(contexts, tokens)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # the whole part once more, this time with a graph that ends with this function
        with torch.enable_grad():
            contexts = context.saved_tensors[0].detach().requires_grad_()
            features = context.encode(contexts, context.tokens)
        return *torch.autograd.grad(features, contexts, gradients), None, None


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """uint8 or float in 0..255, [b, 3, height, width] -> float32 as a model with this
    preprocessing wants it.
    """
    # the constants are for pixels in [0, 1]
    mean = torch.tensor(preprocess.mean, device=device)[:, None, None] * 255
    std = torch.tensor(preprocess.std, device=device)[:, None, None] * 255
    return (pixels.to(device, torch.float32) - mean) / std
