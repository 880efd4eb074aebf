"""Learned contexts: how they start, and that positive and negative never get mixed up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from labelsieve.models.load import load_encoder
from labelsieve.models.prompts import DualPrompts

WORDS = "a photo of a"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def encoder(request: pytest.FixtureRequest) -> Any:
    return load_encoder(str(request.getfixturevalue(f"random_{request.param}")()))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_start(encoder: Any) -> None:
    """N(0, 0.02²), by seed."""
    prompts = DualPrompts.random(encoder, 200, generator())
    contexts = prompts.contexts.detach()
    assert contexts.shape == (2, 200, encoder.text_width) and prompts.length == 200
    assert contexts.dtype == torch.float32 and prompts.contexts.requires_grad
    assert abs(float(contexts.mean())) < 1e-3 and float(
        contexts.std()
    ) == pytest.approx(0.02, rel=0.03)
    assert not torch.equal(contexts[0], contexts[1])
    assert torch.equal(contexts, DualPrompts.random(encoder, 200, generator()).contexts)
    assert not torch.equal(
        contexts, DualPrompts.random(encoder, 200, generator(1)).contexts
    )


def test_start_at_words(encoder: Any) -> None:
    """The positive context is the words themselves, without start, end or padding; the
    negative one a little beside.
    """
    contexts = DualPrompts.from_words(
        encoder, WORDS, 0.1, generator()
    ).contexts.detach()
    ids = torch.tensor([encoder.tokenizer.convert_tokens_to_ids(c) for c in WORDS])
    table = encoder.model.text_model.embeddings.token_embedding.weight
    assert torch.equal(contexts[0], table[ids])
    moved = contexts[1] - contexts[0]
    assert float(moved.std()) == pytest.approx(0.1 * float(contexts[0].std()), rel=0.15)
    still = DualPrompts.from_words(encoder, WORDS, 0.0, generator()).contexts
    assert torch.equal(still[0], still[1])


def test_a_context_of_words_before_a_class_is_the_sentence(
    random_clip: Callable[..., Path], distance: Any
) -> None:
    """Before learning, the positive prompt of a class is the template filled in. One token
    is one character here, so the words end with the space that separates them from the name.
    """
    encoder = load_encoder(str(random_clip()))
    prompts = DualPrompts.from_words(encoder, f"{WORDS} ", 0.1, generator())
    names = ["cat", "sparrow", "x"]
    found = prompts.positive(encoder, encoder.class_tokens(names, prompts.length))
    assert (
        distance(found, encoder.text_features([f"{WORDS} {name}." for name in names]))
        < 1e-5
    )


def test_the_first_context_is_positive_and_the_second_negative(
    encoder: Any, distance: Any
) -> None:
    contexts = torch.randn(2, 4, encoder.text_width, generator=generator())
    prompts, tokens = DualPrompts(contexts), encoder.class_tokens(["cat", "sparrow"], 4)
    alone = [
        encoder.prompt_features(contexts[i : i + 1], tokens, plain=True)[0]
        for i in (0, 1)
    ]
    positive, negative = prompts.both(encoder, tokens)
    assert (
        distance(positive, alone[0]) < 1e-5
        and distance(prompts.positive(encoder, tokens), alone[0]) < 1e-5
    )
    assert (
        distance(negative, alone[1]) < 1e-5
        and distance(prompts.negative(encoder, tokens), alone[1]) < 1e-5
    )
    assert distance(*alone) > 0.05


def test_each_polarity_moves_its_own_context(encoder: Any) -> None:
    prompts = DualPrompts(torch.randn(2, 4, encoder.text_width, generator=generator()))
    tokens = encoder.class_tokens(["cat", "sparrow"], 4)
    for number, part in enumerate(prompts.both(encoder, tokens)):
        (gradient,) = torch.autograd.grad(
            part[:, 0].sum(), prompts.contexts, retain_graph=True
        )
        assert gradient[number].abs().max() > 0
        assert torch.equal(gradient[1 - number], torch.zeros_like(gradient[0]))


def test_one_context_is_shared_by_all_classes(encoder: Any, distance: Any) -> None:
    """Its gradient is the sum of what each class asks for."""
    prompts = DualPrompts(torch.randn(2, 4, encoder.text_width, generator=generator()))
    names = ["cat", "sparrow", "x"]

    def asked(some: list[str]) -> torch.Tensor:
        features = prompts.positive(encoder, encoder.class_tokens(some, 4))
        return torch.autograd.grad(features[:, 0].sum(), prompts.contexts)[0]

    assert distance(asked(names), sum(asked([name]) for name in names)) < 1e-5


def test_masters_are_float32_beside_a_lower_precision_tower(
    random_clip: Callable[..., Path],
) -> None:
    encoder = load_encoder(str(random_clip()), dtype=torch.bfloat16)
    prompts = DualPrompts.from_words(encoder, WORDS, 0.1, generator())
    positive, _ = prompts.both(
        encoder, encoder.class_tokens(["cat", "dog"], prompts.length)
    )
    positive[0, 0].backward()
    assert prompts.contexts.dtype == torch.float32 and positive.dtype == torch.float32
    assert prompts.contexts.grad is not None and prompts.contexts.grad.abs().max() > 0
