"""SigLIP and SigLIP 2 checkpoints of random weights against transformers' own model, and
prompts put together by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.features.task import Task
from labelsieve.methods import deft
from labelsieve.models import encoder as models
from labelsieve.models.families import siglip
from labelsieve.models.load import load_encoder
from labelsieve.models.prompts import DualPrompts

NAMES = ["cat", "a long name", "x"]
# SigLIP pads with its end token, SigLIP 2 with a token of its own; its fixed-resolution
# checkpoints are of the same type.
VERSIONS = [
    pytest.param({"pad": "<end>"}, id="siglip"),
    pytest.param(
        {"pad": "<pad>", "width": 48, "layers": 3, "image": 24, "longest": 32},
        id="siglip2",
    ),
]


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest, random_siglip: Callable[..., Path]) -> Path:
    return random_siglip(**request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Any:
    return load_encoder(str(folder))


@pytest.fixture(scope="module")
def library(folder: Path) -> Any:
    """transformers' own model of the same checkpoint."""
    from transformers import AutoModel

    return (
        AutoModel.from_pretrained(folder, attn_implementation="eager")
        .eval()
        .requires_grad_(False)
    )


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(encoder: Any, count: int = 3) -> torch.Tensor:
    return noise(count, 3, encoder.preprocess.height, encoder.preprocess.width)


def length_one(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def test_claims_siglip_alone(
    random_siglip: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import Siglip2Config

    assert siglip.claims(str(random_siglip())) and not siglip.claims("tiny")
    Siglip2Config().save_pretrained(tmp_path)
    assert not siglip.claims(str(tmp_path))  # it has no fixed resolution


def test_zero_shot_logits_are_the_library_s(
    folder: Path, encoder: Any, library: Any, distance: Any
) -> None:
    """Up to the sigmoid's bias, which is the same for every class."""
    from transformers import AutoTokenizer

    texts = [f"a photo of a {name}." for name in NAMES]
    ids = AutoTokenizer.from_pretrained(folder)(
        texts,
        padding="max_length",
        truncation=True,
        max_length=encoder.max_text,
        return_tensors="pt",
    ).input_ids
    out = library(input_ids=ids, pixel_values=pictures(encoder))
    assert abs(float(library.logit_bias)) > 0.01
    found = (
        encoder.logit_scale
        * encoder.image_features(pictures(encoder))
        @ encoder.text_features(texts).T
    )
    assert distance(found + library.logit_bias, out.logits_per_image) < 1e-5
    assert distance(found.softmax(1), out.logits_per_image.softmax(1)) < 1e-5


@pytest.mark.parametrize("kind", ["none", "deep", "shallow"])
def test_image_prompts_are_concatenated_tokens(
    encoder: Any, library: Any, distance: Any, kind: str
) -> None:
    """The head pools the picture's tokens only; prompts do their work in the blocks before."""
    layers = library.vision_model.encoder.layers
    prompts = noise(
        len(layers) if kind == "deep" else 1, 4, encoder.image_width, seed=1
    ).requires_grad_()
    pixels = pictures(encoder)
    x = library.vision_model.embeddings(pixels)
    own = x.shape[1]
    for number, layer in enumerate(layers):
        if kind == "deep":
            x = torch.cat([x[:, :own], prompts[number].expand(len(x), -1, -1)], 1)
        elif kind == "shallow" and number == 0:
            x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], 1)
        x = layer(x, None)
    wanted = library.vision_model.head(library.vision_model.post_layernorm(x[:, :own]))
    found = encoder.image_pooled(pixels, None if kind == "none" else list(prompts))
    assert distance(found, wanted) < 1e-5
    if kind == "none":
        assert distance(found, library.get_image_features(pixels).pooler_output) < 1e-5
        return
    weights = noise(*found.shape, seed=9)
    gradients = [
        torch.autograd.grad((y * weights).sum(), prompts)[0] for y in (found, wanted)
    ]
    assert distance(*gradients) < 1e-5 and all(g.abs().max() > 0 for g in gradients[0])


@pytest.mark.parametrize("context", [1, 5])
def test_learned_prompts_are_whole_padded_texts(
    encoder: Any, library: Any, distance: Any, context: int
) -> None:
    """Context, name, point, end, padding to the full length; every token sees every other;
    read at the last position.
    """
    contexts = noise(2, context, encoder.text_width).requires_grad_()
    tower, features = library.text_model, []
    for vectors in contexts:
        for name in NAMES:
            ids = encoder.tokenizer(f"{name}.").input_ids
            ids += [encoder.tokenizer.pad_token_id] * (
                encoder.max_text - context - len(ids)
            )
            x = torch.cat(
                [vectors, tower.embeddings.token_embedding(torch.tensor(ids))]
            )
            x = (x + tower.embeddings.position_embedding.weight)[None]
            for layer in tower.encoder.layers:
                x = layer(x, None)
            features.append(tower.head(tower.final_layer_norm(x)[0, -1]))
    wanted = length_one(torch.stack(features)).unflatten(0, (2, len(NAMES)))
    found = encoder.prompt_features(contexts, encoder.class_tokens(NAMES, context))
    assert distance(found, wanted) < 1e-5
    weights = noise(*found.shape, seed=9)
    gradients = [
        torch.autograd.grad((y * weights).sum(), contexts)[0] for y in (found, wanted)
    ]
    assert distance(*gradients) < 1e-5


def test_a_context_of_words_before_a_class_is_the_sentence(
    encoder: Any, distance: Any
) -> None:
    prompts = DualPrompts.from_words(encoder, "a ", 0.1, torch.Generator())
    assert prompts.length == 2
    found = prompts.positive(encoder, encoder.class_tokens(NAMES, prompts.length))
    assert (
        distance(found, encoder.text_features([f"a {name}." for name in NAMES])) < 1e-5
    )


def test_many_classes_are_taken_in_parts(
    encoder: Any, monkeypatch: pytest.MonkeyPatch, distance: Any
) -> None:
    contexts = noise(2, 3, encoder.text_width).requires_grad_()
    tokens = encoder.class_tokens([f"class {k}" for k in range(20)], 3)
    weights = noise(2, 20, encoder.text_width, seed=9)
    whole = encoder.prompt_features(contexts, tokens)
    wanted = torch.autograd.grad((whole * weights).sum(), contexts)[0]
    monkeypatch.setattr(models, "MEMORY_AT_ONCE", 1.0)
    found = encoder.prompt_features(contexts, tokens)
    assert distance(found, whole) < 1e-5
    assert (
        distance(torch.autograd.grad((found * weights).sum(), contexts)[0], wanted)
        < 1e-5
    )


def test_towers_get_no_gradient(encoder: Any) -> None:
    contexts = noise(2, 3, encoder.text_width).requires_grad_()
    prompts = noise(len(encoder.image_layers), 2, encoder.image_width).requires_grad_()
    images = encoder.image_features(pictures(encoder), list(prompts))
    (
        images @ encoder.prompt_features(contexts, encoder.class_tokens(NAMES, 3))[0].T
    ).square().sum().backward()
    assert contexts.grad is not None and contexts.grad[0].abs().max() > 0
    assert prompts.grad is not None and prompts.grad.abs().max() > 0
    assert all(p.grad is None for p in encoder.model.parameters())


def test_deft_learns_on_it(
    encoder: Any, labelled: Callable[..., Any], tmp_path: Path
) -> None:
    """From start to end; template words, prompts and towers fit together, and the learned
    contexts moved.
    """
    side = encoder.preprocess.height
    pixels = np.random.default_rng(0).integers(
        0, 256, (12, side, side, 3), dtype=np.uint8
    )
    images = labelled(
        encoder.preprocess, pixels, [NAMES[i % 3] for i in range(12)], template="a {}."
    )
    settings = deft.Settings(epochs=1, batch_size=6, tuning_size=2, warmup_epochs=0)
    task = Task(images, encoder, 0, tmp_path, "x")
    evidence = deft.detect(task, settings)
    start = deft.build(task, settings, 0).prompts.contexts.detach()
    assert evidence.learned is not None and evidence.learned[
        "contexts"
    ].shape == start.shape == (
        2,
        1,
        encoder.text_width,
    )
    assert not torch.equal(evidence.learned["contexts"], start)
    assert (
        np.isfinite(evidence.p_clean).all()
        and ((evidence.p_clean >= 0) & (evidence.p_clean <= 1)).all()
    )
