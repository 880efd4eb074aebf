"""Image-text models: one family per file.

A file of this room offers:

    FAMILY: str                                        how a person calls it
    accepts(config) -> bool                            is this transformers configuration ours?
    load(folder_or_id, config, device, dtype) -> DualEncoder

`DualEncoder` says what a family must give. Towers are frozen; prompts and adapters are learned beside them.
"""

from __future__ import annotations

import abc
import contextlib
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from labelsieve import progress, registry
from labelsieve.errors import ModelError, OptionError
from labelsieve.images import Preprocess

# The embedded model, and others that were tried with this layout: name, size and what it is for.
TINY = Path(__file__).parent.parent / "assets" / "tiny"
RECOMMENDED = (
    ("tiny", "4 M", "embedded; 32 x 32 pixels; demo, tests, small pictures without a network"),
    ("openai/clip-vit-base-patch16", "150 M", "the paper's model; everyday photos"),
    ("openai/clip-vit-large-patch14", "428 M", "better and about four times slower"),
    ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "150 M", "as the first one, trained on open data"),
    ("facebook/metaclip-b16-fullcc2.5b", "150 M", "as the first one, curated web data"),
    ("google/siglip-base-patch16-224", "203 M", "sigmoid loss; often better zero-shot"),
    ("google/siglip2-base-patch16-224", "375 M", "many languages; class names need not be English"),
)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Classes are encoded in parts, recomputed for the gradient, when what all would keep for it is more than so many bytes.
MEMORY_AT_ONCE = 1.5e9
KEPT = 20  # numbers that a token takes for the gradient, per block and unit of its width (benchmarks/bench_memory.py)


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
    """An image tower and a text tower with a common space; all features it gives are float32 and of length one.

    Attributes:
        name: as the user wrote it.
        family: e.g. "CLIP".
        preprocess: how pictures are prepared.
        logit_scale: what cosines are multiplied by (CLIP: 100), the inverse of the softmax temperature.
        image_tower: the frozen image tower; adapters are put into it.
        image_layers: its blocks.
        image_width, image_tokens: width and number of its tokens without prompts.
        text_width, text_depth, max_text: width, number of blocks and longest text of the text tower.
        patch_size: in pixels.
        causal: whether the text tower is, so that prefixes can be shared.
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

    @abc.abstractmethod
    def image_pooled(self, pixels: Tensor, prompts: Sequence[Tensor] | None = None) -> Tensor:
        """[b, 3, height, width] normalised -> [b, image_width], before the projection into the common space.

        Args:
            prompts: one [p, image_width] per block (deep), or a single one (shallow).
        """

    @abc.abstractmethod
    def project_image(self, pooled: Tensor) -> Tensor:
        """[b, image_width] -> [b, d], not normalised."""

    @abc.abstractmethod
    def encode_texts(self, embeddings: Tensor, end: Tensor) -> Tensor:
        """Whole texts, token by token, the plain way: [n, t, text_width] without positions -> [n, d], not normalised."""

    @abc.abstractmethod
    def encode_after_prefix(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        """As `plain_prompts`, with start and context computed once for all classes: [c, m, text_width] -> [c, k, d]."""

    @abc.abstractmethod
    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Token ids [..., t] -> [..., t, text_width], without positions."""

    @abc.abstractmethod
    def prompt_embeddings(self, contexts: Tensor, tokens: ClassTokens) -> tuple[Tensor, Tensor]:
        """Full prompts: contexts [c, m, text_width] -> embeddings [c * k, t, text_width] and end positions [c * k]."""

    @abc.abstractmethod
    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        """Tokens of "NAME." for each name. Raises ModelError when one is too long for the tower after the context."""

    @abc.abstractmethod
    def word_ids(self, text: str) -> Tensor:
        """Ids [t] of a text alone, without start, end and padding."""

    @abc.abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Whole texts -> ids [n, t] and end positions [n]."""

    def image_features(self, pixels: Tensor, prompts: Sequence[Tensor] | None = None) -> Tensor:
        """[b, 3, height, width] normalised pixels -> [b, d] float32 of length one."""
        return F.normalize(self.project_image(self.image_pooled(pixels, prompts)).float(), dim=-1)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """[n, d] float32 of length one, without gradient."""
        parts = []
        for start in range(0, len(texts), 256):
            ids, end = self.tokenize(texts[start : start + 256])
            parts.append(self.encode_texts(self.embed_tokens(ids), end).float())
        return F.normalize(torch.cat(parts), dim=-1)

    def prompt_features(self, contexts: Tensor, tokens: ClassTokens, *, plain: bool = False) -> Tensor:
        """Features of learned prompts, with gradient to the contexts.

        Args:
            contexts: [c, m, text_width] float32.
            tokens: of k classes.
            plain: encode every prompt whole even where the prefix could be shared (a reference for tests).

        Returns:
            [c, k, d] float32 of length one.
        """
        encode = self.encode_after_prefix if self.causal and not plain else self.plain_prompts
        per_class = len(contexts) * (tokens.ids.shape[1] if encode == self.encode_after_prefix else self.max_text)
        kept = KEPT * self.text_width * self.text_depth * self.dtype.itemsize * per_class
        size = max(8, int(MEMORY_AT_ONCE / kept))
        if len(tokens.ids) <= size:
            return F.normalize(encode(contexts, tokens).float(), dim=-1)
        parts = [ClassTokens(i, e) for i, e in zip(tokens.ids.split(size), tokens.end.split(size), strict=True)]
        features = [_Recomputed.apply(contexts, encode, part) for part in parts]  # type: ignore[no-untyped-call]
        return F.normalize(torch.cat(features, 1).float(), dim=-1)

    def plain_prompts(self, contexts: Tensor, tokens: ClassTokens) -> Tensor:
        """[c, m, text_width] -> [c, k, d] by encoding each of the c * k prompts whole."""
        embeddings, end = self.prompt_embeddings(contexts, tokens)
        return self.encode_texts(embeddings, end).unflatten(0, (len(contexts), -1))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 or float in 0..255, [b, 3, height, width] -> what the image tower wants, on its device."""
        return normalise(pixels, self.preprocess, self.device).to(self.dtype)


class _Recomputed(torch.autograd.Function):
    """Text features of some classes that keep nothing for the gradient but the contexts.

    torch.utils.checkpoint would do the same, but leaves a graph whose many small objects tear the heap apart: with 1,000
    classes at ViT-B/16's shape a gigabyte that is free cannot be used again.
    """

    @staticmethod
    def forward(
        context: Any, contexts: Tensor, encode: Callable[[Tensor, ClassTokens], Tensor], tokens: ClassTokens
    ) -> Tensor:
        context.save_for_backward(contexts)
        context.encode, context.tokens = encode, tokens
        return encode(contexts, tokens)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        with torch.enable_grad():
            contexts = context.saved_tensors[0].detach().requires_grad_()
            features = context.encode(contexts, context.tokens)
        return *torch.autograd.grad(features, contexts, gradients), None, None


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """uint8 or float in 0..255, [b, 3, height, width] -> float32 as a model with this preprocessing wants it."""
    mean = torch.tensor(preprocess.mean, device=device)[:, None, None] * 255
    std = torch.tensor(preprocess.std, device=device)[:, None, None] * 255
    return (pixels.to(device, torch.float32) - mean) / std


def choose_device(wanted: str = "auto") -> torch.device:
    """Raises OptionError when the wanted device is not there."""
    if wanted == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device '{wanted}' is not available here.", "Use cpu, cuda, cuda:0, … or leave it out."
        ) from error
    return device


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor or card multiplies it faster than float32, else float32."""
    if wanted != "auto":
        if wanted not in PRECISIONS:
            raise OptionError(f"--precision '{wanted}' is unknown.", f"Use auto, {', '.join(PRECISIONS)}.")
        return PRECISIONS[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_fast_bfloat16() else torch.float32


def _cpu_has_fast_bfloat16() -> bool:
    """AMX, or AVX512-BF16 of AMD. Intel's without AMX is no faster than float32 (half as fast, benchmarks/bench_step.py)."""
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _cpu_maker()


def _cpu_maker() -> str:
    """Text with the maker's name in it; Windows has it in the processor's description."""
    cpus = Path("/proc/cpuinfo")
    return cpus.read_text() if cpus.exists() else platform.processor()


def load(name: str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> DualEncoder:
    """Load an image-text model: "tiny", a Hugging Face directory, or a hub id.

    Raises:
        ModelError: not found, not readable, or of a family that no file of this room accepts.
    """
    where, config, family = _find(name)
    try:
        with without_bar():
            encoder: DualEncoder = family.load(where, config, torch.device(device), dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"Model '{name}' cannot be loaded: {_reason(error)}.", "Is the directory complete?") from error
    encoder.name = name
    return encoder


def preprocess_of(name: str) -> Preprocess:
    """How a model wants its pictures, without loading its weights. Raises ModelError as `load` does."""
    where, config, _ = _find(name)
    return Preprocess.from_processor(image_processor(where), config.vision_config.image_size)


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
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    shown, hub_shown = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
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
    return any(registry.load("models", n).accepts(config) for n in registry.names("models"))


def _find(name: str) -> tuple[str, Any, ModuleType]:
    """Where a model is, its configuration, and the file of this room that knows its family."""
    from transformers import AutoConfig

    where = str(TINY) if name == "tiny" else name
    try:
        config = AutoConfig.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Model '{name}' cannot be loaded: {_reason(error)}.", "Use tiny, a Hugging Face directory or a hub id."
        ) from error
    families = [registry.load("models", n) for n in registry.names("models")]
    for family in families:
        if family.accepts(config):
            return where, config, family
    supported = ", ".join(family.FAMILY for family in families)
    raise ModelError(
        f"Model '{name}' is of family '{config.model_type}', which is not supported.", f"Supported: {supported}."
    )


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
