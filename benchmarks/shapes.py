"""Models with random weights in the shapes that matter, and DeFT's step as the authors wrote it.

`plain_step` is the yardstick: every prompt at its full length of 77 tokens, attention unfused,
float32, prompt tokens carried through every block and thrown away by the next one. It shares no
arithmetic with the package; only the weights.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # models made here have no name that a hub knows

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel
from transformers.activations import ACT2FN

from labelsieve.methods._dual_prompts import Detector
from labelsieve.models import adapters
from labelsieve.models.encoder import ClassTokens
from labelsieve.models.families.clip import ClipEncoder
from labelsieve.models.hugging_face import TINY
from labelsieve.models.prompts import DualPrompts

SHAPES = {
    "ViT-B/16": {
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 16,
        },
        "text_config": {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
        },
        "projection_dim": 512,
    },
    "tiny": {
        "vision_config": {
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 3,
            "image_size": 32,
            "patch_size": 4,
        },
        "text_config": {
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
        },
        "projection_dim": 192,
    },
    "narrow": {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 32,
            "patch_size": 16,
        },
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
        },
        "projection_dim": 32,
    },
}


def encoder(
    shape: str, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> ClipEncoder:
    """A CLIP of this shape with random weights; scale 100 as in CLIP."""
    torch.manual_seed(0)
    config = CLIPConfig(**SHAPES[shape], logit_scale_init_value=4.6052)
    config.text_config.bos_token_id, config.text_config.eos_token_id = 49406, 49407
    model = CLIPModel(config)
    return ClipEncoder("random", model, torch.device(device), dtype)


def unfused(model: ClipEncoder) -> ClipEncoder:
    """The same with the activation functions of transformers, for the plain way."""
    for layer in (*model.image_layers, *model.text_layers):
        layer.mlp.activation_fn = ACT2FN[layer.mlp.config.hidden_act]
    return model


def saved(shape: str, folder: Path) -> Path:
    """A checkpoint of this shape with random weights and the embedded model's words, for whole
    scans."""
    from transformers import AutoTokenizer, CLIPImageProcessor

    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(TINY)
    config = CLIPConfig(**SHAPES[shape], logit_scale_init_value=4.6052)
    config.text_config.update(
        {
            "vocab_size": len(words),
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
        }
    )
    side = config.vision_config.image_size
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side).save_pretrained(
        folder
    )
    return folder


def class_tokens(model: ClipEncoder, classes: int) -> ClassTokens:
    """Class names of one to four tokens, a full stop and the end token."""
    draw = torch.Generator().manual_seed(1)
    rows = [
        torch.cat(
            [
                torch.randint(1000, 40000, (1 + k % 4,), generator=draw),
                torch.tensor([269, 49407]),
            ]
        )
        for k in range(classes)
    ]
    return model.from_ids(rows)


def detector(
    model: ClipEncoder, classes: int, context: int = 16, prompts: int = 20
) -> Detector:
    """DeFT's detector with the paper's numbers of tokens."""
    draw = torch.Generator().manual_seed(2)
    return Detector(
        model,
        class_tokens(model, classes),
        DualPrompts.random(model, context, draw),
        adapters.build("vpt-deep", model, prompts, draw),
    )


def plain_image_features(model: ClipEncoder, pixels: Tensor, prompts: Tensor) -> Tensor:
    """[b, d]: prompts appended to the tokens, replaced before each block, everything computed."""
    tower = model.image_tower
    tower.config._attn_implementation = "eager"
    x = tower.pre_layrnorm(tower.embeddings(pixels))
    length = x.shape[1]
    for layer, own in zip(tower.encoder.layers, prompts, strict=True):
        x = layer(
            torch.cat([x[:, :length], own.expand(len(x), -1, -1)], 1),
            attention_mask=None,
        )
    return F.normalize(
        model.model.visual_projection(tower.post_layernorm(x[:, 0])), dim=-1
    )


def plain_text_features(
    model: ClipEncoder, contexts: Tensor, tokens: ClassTokens
) -> Tensor:
    """[c, k, d]: each prompt at its full length."""
    tower = model.text_tower
    tower.config._attn_implementation = "eager"
    embeddings, end = model.prompt_embeddings(contexts, tokens)
    x = embeddings + tower.embeddings.position_embedding.weight[: embeddings.shape[1]]
    mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), device=x.device).triu(1)
    for layer in tower.encoder.layers:
        x = layer(x, attention_mask=mask)
    x = tower.final_layer_norm(x)[torch.arange(len(x), device=x.device), end]
    return F.normalize(model.model.text_projection(x), dim=-1).unflatten(
        0, (len(contexts), -1)
    )


def plain_step(
    found: Detector, pixels: Tensor, labels: Tensor, other: Tensor, at_once: int = 100
) -> Tensor:
    """The warm-up loss of one step and its gradients, computed the authors' way: one pass
    forward and one backward of all.

    More classes than `at_once` would need more memory than most machines have (1,000: some 50
    GB). Their prompts are encoded and differentiated in parts, with text features for the loss
    that were computed before (`known_features`).
    """
    model, tokens = found.encoder, found.tokens
    whole = len(tokens.ids) <= at_once
    text = (
        plain_text_features(model, found.prompts.contexts, tokens)
        if whole
        else known_features(found).detach().requires_grad_()
    )
    loss = _loss(found, pixels, labels, other, text)
    loss.backward()
    if not whole:
        parts = zip(
            tokens.ids.split(at_once),
            tokens.end.split(at_once),
            text.grad.split(at_once, 1),
            strict=True,
        )  # type: ignore[union-attr]
        for ids, end, gradient in parts:
            plain_text_features(
                model, found.prompts.contexts, ClassTokens(ids, end)
            ).backward(gradient)
    return loss.detach()


@functools.cache
@torch.no_grad()
def known_features(found: Detector) -> Tensor:
    """[2, k, d] of the prompts as they are; benchmarks take no step of an optimiser, so they
    stay."""
    return torch.stack(found.text_features())


def _loss(
    found: Detector, pixels: Tensor, labels: Tensor, other: Tensor, text: Tensor
) -> Tensor:
    model = found.encoder
    features = plain_image_features(model, pixels, found.tuned.prompts)
    first = model.logit_scale * features @ text[0].T
    second = model.logit_scale * features.detach() @ text[1].T
    yes = (
        torch.stack([first.detach(), second], -1)
        .softmax(-1)[..., 0]
        .clamp(1e-5, 1 - 1e-5)
    )
    each = torch.arange(len(labels))
    dual = -(1 - yes[each, other]).log().mean() - yes[each, labels].log().mean()
    return F.cross_entropy(first, labels) + dual
