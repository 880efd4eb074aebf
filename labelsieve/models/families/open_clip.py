"""open_clip's models: LAION, DataComp, DFN, MetaCLIP, BioCLIP, SigLIP and others.

Cherti et al., "Reproducible Scaling Laws for Contrastive Language-Image Learning", CVPR 2023.
Image towers are vision transformers of open_clip or timm, text towers its own, causal or not.
Convolutional towers, models with a decoder (CoCa) and text towers of transformers are refused.

A model is named as open_clip:ARCHITECTURE/TAG, hf-hub:OWNER/REPOSITORY, or by a folder with
open_clip_config.json and open_clip_model.safetensors. The library builds the modules; weights
are read here, safetensors only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from labelsieve.data.images import Preprocess
from labelsieve.models import blocks, hugging_face, trust
from labelsieve.models.blocks import run_image_blocks, use_quick_gelu
from labelsieve.models.encoder import ClassTokens, DualEncoder
from labelsieve.models.families import _open_clip_files as files
from labelsieve.models.families import _open_clip_towers as towers
from labelsieve.models.families._open_clip_files import Checkpoint, claims
from labelsieve.models.families._open_clip_words import read_tokenizer
from labelsieve.models.families._shared_prefix import SharedPrefix
from labelsieve.models.families._transformers import check_lengths

__all__ = ["FAMILY", "claims", "load", "operations", "preprocess_of"]

FAMILY = "open_clip"


def preprocess_of(name: str) -> Preprocess:
    """How a checkpoint wants its pictures; its weights are not read."""
    found = files.locate(name)
    return files.preprocess_of(found, files.side_of(found))


def operations(name: str) -> float:
    """Floating-point operations of one picture; 0 for towers of timm, known by name alone."""
    vision = files.locate(name).model["vision_cfg"]
    if vision.get("timm_model_name"):
        return 0.0
    side, patch = vision.get("image_size", files.SIDE), vision.get("patch_size", 16)
    rows, columns = side if isinstance(side, list) else (side, side)
    tokens = (rows // patch) * (columns // patch) + 1
    return blocks.operations(tokens, vision.get("width", 768), vision.get("layers", 12))


def load(name: str, device: torch.device, dtype: torch.dtype) -> DualEncoder:
    """Load a checkpoint; its towers are frozen."""
    found, model = read_model(name)
    with _supported(found):
        return OpenClipEncoder(found, model, device, dtype)


@contextlib.contextmanager
def _supported(found: Checkpoint) -> Iterator[None]:
    try:
        yield
    except towers.Unsupported as error:
        raise trust.refusal(
            found.name, f"it has {error}, which is not supported"
        ) from error


def read_model(name: str) -> tuple[Checkpoint, Any]:
    """A checkpoint and the library's own model with its weights, float32 on the CPU.

    Raises:
        ModelError: not found, damaged, or with weights that are no safetensors.
    """
    found = files.locate(name)
    weights = files.file_of(found.name, found.place, files.WEIGHTS)
    model = described(found.name, found.model)
    trust.check_size(found.name, model, trust.count_numbers(found.name, [weights]))
    tensors = _fitted(model, load_file(weights))
    trust.check_loaded(found.name, trust.differences(model, tensors))
    trust.check_weights(found.name, tensors)
    # the tensors become the parameters: nothing was allocated for the model itself
    model.load_state_dict(tensors, assign=True)
    return found, model


def described(name: str, config: Any) -> Any:
    """The library's model of a configuration, without memory for its weights.

    Args:
        config: `model_cfg`, of an open_clip_config.json or of a classifier.

    Raises:
        ModelError: entries that are not taken.
    """
    library = files.need_open_clip(name)
    files.check_model(name, config)
    settings = dict(config)
    # with it the two towers are modules beside each other, else the text tower is the model
    custom = settings.pop("custom_text", False)
    kind = library.CustomTextCLIP if custom else library.CLIP
    # timm is told not to fetch weights of its own
    vision = {**settings["vision_cfg"], "timm_model_pretrained": False}
    settings["vision_cfg"] = vision
    return hugging_face.describe(lambda: kind(**settings))


def _fitted(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in float32 and, for scalars, in the shape that the model has."""
    fitted = {}
    own = model.state_dict()
    for name, tensor in tensors.items():
        value = tensor.float() if tensor.is_floating_point() else tensor
        # checkpoints write the two scalars as [] or as [1]
        if name in ("logit_scale", "logit_bias") and name in own:
            value = value.reshape(own[name].shape) if value.numel() == 1 else value
        fitted[name] = value
    return fitted


class OpenClipEncoder(SharedPrefix):
    """A model of open_clip; its blocks are taken apart and used, its forward is not."""

    family = FAMILY

    def __init__(
        self, found: Checkpoint, model: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.name = found.name
        self.device = device
        self.dtype = dtype
        # checkpoints hold its logarithm
        self.logit_scale = float(model.logit_scale.detach().exp())
        image, text = towers.image_tower(model.visual), towers.TextTower(model)
        # one module, so that all weights are moved, frozen and fingerprinted together
        both = nn.ModuleDict({"image": image, "text": text})
        self.model = both.to(device, dtype).eval().requires_grad_(False)
        self._set_image_side(image)
        self._set_text_side(found, text)
        self.preprocess = files.preprocess_of(found, image.side)

    def _set_image_side(self, tower: towers.ImageTower) -> None:
        self.image_tower = self._image = tower
        self.image_layers = list(tower.blocks)
        use_quick_gelu(self.image_layers, towers.slow_quick_gelu())
        self.image_width = tower.width
        self.patch_size = tower.patch
        self.image_tokens = tower.tokens

    def _set_text_side(self, found: Checkpoint, tower: towers.TextTower) -> None:
        self._text = tower
        self.text_layers = list(tower.blocks)
        use_quick_gelu(self.text_layers, towers.slow_quick_gelu())
        self.causal = tower.causal
        self.max_text, self.text_width = tower.positions.shape
        self.text_depth = len(tower.blocks)
        self.tokenizer = read_tokenizer(found)
        trust.check_words(self.name, self.tokenizer, tower.embedding.num_embeddings)

    # --- pictures

    def image_pooled(
        self, pixels: Tensor, prompts: Sequence[Tensor] | None = None
    ) -> Tensor:
        only = self._image.reads_class_token
        x = self.image_start(pixels)
        x = run_image_blocks(self.image_layers, x, prompts, class_token_only=only)
        return self.pool_image(x)

    def image_start(self, pixels: Tensor) -> Tensor:
        return self._image.before(pixels)

    def pool_image(self, x: Tensor) -> Tensor:
        return self._image.pooled(x)

    def project_image(self, pooled: Tensor) -> Tensor:
        return self._image.project(pooled)

    # --- texts

    def _positions(self, start: int, stop: int) -> Tensor:
        return self._text.positions[start:stop]

    def _start(self, count: int) -> Tensor:
        opening = torch.tensor(self.tokenizer.opening, dtype=torch.long)
        return self.embed_tokens(opening.expand(count, -1))

    def _read(self, states: Tensor) -> Tensor:
        return self._text.read(states)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        return self._text.embedding(ids.to(self.device))

    def word_ids(self, text: str) -> Tensor:
        return torch.tensor(self.tokenizer.words(text), device=self.device)

    def class_tokens(self, names: Sequence[str], context_length: int) -> ClassTokens:
        # with a full stop, as CoOp ends its prompts
        rows = [self.tokenizer.row(f"{name}.") for name in names]
        opening = len(self.tokenizer.opening)
        self._check_lengths([context_length + len(row) for row in rows], names)
        # what opens a text stands before the context
        return self.from_ids([torch.tensor(row[opening:]) for row in rows])

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self.tokenizer.row(text) for text in texts]
        self._check_lengths([len(row) for row in rows], texts)
        # where every token sees every other, padding counts: to the length of pre-training
        length = max(map(len, rows)) if self.causal else self.max_text
        ids = torch.full((len(rows), length), self.tokenizer.padding)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        return ids.to(self.device), self._ends([len(row) - 1 for row in rows])

    def prompt_embeddings(
        self, contexts: Tensor, tokens: ClassTokens
    ) -> tuple[Tensor, Tensor]:
        c, k = len(contexts), len(tokens.ids)
        opening = torch.cat([self._start(c), contexts.to(self.dtype)], 1)
        own = tokens.ids.masked_fill(self._behind(tokens), self.tokenizer.padding)
        missing = self.max_text - opening.shape[1] - own.shape[1]
        own = F.pad(own, (0, missing), value=self.tokenizer.padding)
        every = opening[:, None].expand(-1, k, -1, -1)
        after = self.embed_tokens(own).expand(c, -1, -1, -1)
        full = torch.cat([every, after], 2).flatten(0, 1)
        return full, self._ends((opening.shape[1] + tokens.end).tolist()).repeat(c)

    @staticmethod
    def _behind(tokens: ClassTokens) -> Tensor:
        """[k, s] bool, True behind the end of a class's own tokens."""
        places = torch.arange(tokens.ids.shape[1], device=tokens.ids.device)
        return places > tokens.end[:, None]

    def _ends(self, ends: list[int]) -> Tensor:
        """Where texts are read: at their end tokens, or at the last position of the tower."""
        if self._text.reads_last:
            ends = [self.max_text - 1] * len(ends)
        return torch.tensor(ends, device=self.device)

    def _check_lengths(self, lengths: Sequence[int], texts: Sequence[str]) -> None:
        check_lengths(self.name, self.max_text, lengths, texts)
