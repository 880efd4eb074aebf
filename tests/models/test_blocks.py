"""The towers' arithmetic against transformers' own modules run the plain way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from labelsieve.models import encoder as models
from labelsieve.models.blocks import (
    SMALL,
    QuickGelu,
    attend,
    causal_mask,
    operations,
    run_image_blocks,
)
from labelsieve.models.load import load_encoder

CLOSE = 1e-5

SIZES = [
    pytest.param({}, id="two-blocks"),
    pytest.param(
        {"layers": 1, "text_layers": 1, "width": 24, "text_width": 48}, id="one-block"
    ),
    pytest.param(
        {
            "layers": 3,
            "text_layers": 4,
            "longest": 77,
            "image": 24,
            "activation": "gelu",
        },
        id="deep",
    ),
]


@pytest.fixture(params=SIZES, scope="module")
def pair(
    request: pytest.FixtureRequest, random_clip: Callable[..., Path], naive_clip: Any
) -> tuple[Any, Any]:
    """Ours and the slow version of one checkpoint."""
    folder = random_clip(**request.param)
    return load_encoder(str(folder)), naive_clip(folder)


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(encoder: Any, count: int = 3) -> torch.Tensor:
    return noise(count, 3, encoder.preprocess.height, encoder.preprocess.width)


class TestAttend:
    @pytest.mark.parametrize("keys", [5, SMALL, SMALL + 1])
    @pytest.mark.parametrize("masked", [False, True])
    def test_either_kernel_is_softmax_attention(
        self, distance: Any, keys: int, masked: bool
    ) -> None:
        query, key, value = (
            noise(2, 3, 4, 8),
            noise(2, 3, keys, 8, seed=1),
            noise(2, 3, keys, 8, seed=2),
        )
        mask = torch.ones(4, keys, dtype=torch.bool).tril() if masked else None
        scores = torch.einsum("bhne,bhme->bhnm", query, key) / 8**0.5
        if mask is not None:
            scores = scores + torch.where(mask, 0.0, float("-inf"))
        wanted = torch.einsum("bhnm,bhme->bhne", scores.softmax(-1), value)
        assert distance(attend(query, key, value, mask), wanted) < CLOSE

    def test_causal_mask(self) -> None:
        mask = causal_mask(6, torch.device("cpu"))
        assert [[bool(mask[i, j]) for j in range(6)] for i in range(6)] == [
            [j <= i for j in range(6)] for i in range(6)
        ]


class TestQuickGelu:
    @pytest.mark.parametrize(
        ("dtype", "close"),
        [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)],
    )
    def test_it_is_the_formula_with_its_gradient(
        self, distance: Any, dtype: torch.dtype, close: float
    ) -> None:
        x = torch.cat(
            [
                noise(7, 12, scale=3),
                torch.tensor([[-100.0, -20.0, 0.0, 20.0, 100.0, 1e-30] * 2]),
            ]
        ).to(dtype)
        ours, wanted = x.clone().requires_grad_(), x.double().requires_grad_()
        weights = noise(12, 8, seed=1).to(dtype).T  # not contiguous
        QuickGelu()(ours).backward(weights)
        (wanted * torch.sigmoid(1.702 * wanted)).backward(weights.double())
        with torch.no_grad():
            assert (
                distance(
                    QuickGelu()(ours.requires_grad_()).double(),
                    wanted * torch.sigmoid(1.702 * wanted),
                )
                < close
            )
        assert (
            distance(QuickGelu()(ours).double(), wanted * torch.sigmoid(1.702 * wanted))
            < close
        )
        assert ours.grad is not None and ours.grad.dtype == dtype
        assert distance(ours.grad.double(), wanted.grad) < close

    def test_towers_that_want_it_get_it_and_others_keep_theirs(
        self, random_clip: Callable[..., Path]
    ) -> None:
        for wanted, there in (("quick_gelu", True), ("gelu", False)):
            encoder: Any = load_encoder(str(random_clip(activation=wanted)))
            layers = [*encoder.image_layers, *encoder.text_layers]
            assert [
                isinstance(layer.mlp.activation_fn, QuickGelu) for layer in layers
            ] == [there] * len(layers)


class TestImageTower:
    def test_without_prompts_it_is_the_library(
        self, pair: tuple[Any, Any], distance: Any
    ) -> None:
        encoder, naive = pair
        pixels = pictures(encoder)
        with torch.no_grad():
            wanted = naive.model.get_image_features(pixel_values=pixels).pooler_output
            pooled = naive.model.vision_model(pixel_values=pixels).pooler_output
            assert distance(encoder.image_pooled(pixels), pooled) < CLOSE
            assert (
                distance(encoder.image_features(pixels), F.normalize(wanted, dim=1))
                < CLOSE
            )
            assert (
                distance(naive.images(pixels), F.normalize(wanted, dim=1)) < CLOSE
            )  # so is the slow version

    @pytest.mark.parametrize("count", [1, 5])
    def test_deep_prompts_are_concatenated_tokens(
        self, pair: tuple[Any, Any], distance: Any, count: int
    ) -> None:
        """Outputs and gradients: tokens replaced before each block, as in the authors' code."""
        encoder, naive = pair
        prompts = noise(
            len(encoder.image_layers), count, encoder.image_width
        ).requires_grad_()
        pixels = pictures(encoder)
        ours, theirs = (
            encoder.image_features(pixels, list(prompts)),
            naive.images(pixels, prompts),
        )
        assert distance(ours, theirs) < CLOSE
        weights = noise(*ours.shape, seed=9)
        gradients = [
            torch.autograd.grad((x * weights).sum(), prompts)[0] for x in (ours, theirs)
        ]
        assert distance(*gradients) < CLOSE
        assert all(g.abs().max() > 0 for g in gradients[0]), (
            "a block's prompts do nothing"
        )

    def test_shallow_prompts_stay_in_the_sequence(
        self, random_clip: Callable[..., Path], naive_clip: Any, distance: Any
    ) -> None:
        folder = random_clip(layers=3)
        encoder, naive = load_encoder(str(folder)), naive_clip(folder)
        prompts, pixels = (
            noise(1, 4, encoder.image_width).requires_grad_(),
            pictures(encoder),
        )
        tower = naive.model.vision_model
        x = torch.cat(
            [tower.pre_layrnorm(tower.embeddings(pixels)), prompts.expand(3, -1, -1)], 1
        )
        for layer in tower.encoder.layers:
            x = layer(x, None)
        wanted = tower.post_layernorm(x[:, 0])
        found = encoder.image_pooled(pixels, list(prompts))
        assert distance(found, wanted) < CLOSE
        weights = noise(*found.shape, seed=9)
        gradients = [
            torch.autograd.grad((x * weights).sum(), prompts)[0]
            for x in (found, wanted)
        ]
        assert distance(*gradients) < CLOSE

    def test_all_tokens_and_the_class_token_alone_agree(
        self, pair: tuple[Any, Any], distance: Any
    ) -> None:
        encoder, _ = pair
        x = noise(2, encoder.image_tokens, encoder.image_width)
        prompts = list(noise(len(encoder.image_layers), 3, encoder.image_width, seed=1))
        every = run_image_blocks(
            encoder.image_layers, x, prompts, class_token_only=False
        )
        first = run_image_blocks(
            encoder.image_layers, x, prompts, class_token_only=True
        )
        assert every.shape == x.shape
        assert distance(first, every[:, :1]) < CLOSE


def ids_of(
    encoder: Any, names: list[str], context: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole prompts [k, longest] with placeholders, and their ends, put together by hand."""
    ids, ends = torch.zeros(len(names), encoder.max_text, dtype=torch.long), []
    for k, name in enumerate(names):
        row = encoder.tokenizer(f"{name}.").input_ids
        row = [row[0], *[7] * context, *row[1:]]
        ids[k, : len(row)] = torch.tensor(row)
        ends.append(len(row) - 1)
    return ids, torch.tensor(ends)


NAME_LISTS = [
    pytest.param(["cat", "dog", "owl"], id="alike"),
    pytest.param(["x", "a rather long name", "mid size", "cat"], id="unlike"),
    pytest.param(["only one"], id="one-class"),
]


class TestTextTower:
    @pytest.mark.parametrize("names", NAME_LISTS)
    @pytest.mark.parametrize("context", [1, 4, 16])
    def test_shared_prefix_is_the_plain_encoding(
        self, pair: tuple[Any, Any], distance: Any, names: list[str], context: int
    ) -> None:
        encoder, naive = pair
        contexts = noise(2, context, encoder.text_width).requires_grad_()
        tokens = encoder.class_tokens(names, context)
        shared, plain = (
            encoder.prompt_features(contexts, tokens),
            encoder.prompt_features(contexts, tokens, plain=True),
        )
        slow = torch.stack(
            [naive.texts(*ids_of(encoder, names, context), c) for c in contexts]
        )
        weights = noise(*shared.shape, seed=9)
        wanted = torch.autograd.grad((slow * weights).sum(), contexts)[0]
        for found in (shared, plain):
            assert distance(found, slow) < CLOSE
            assert (
                distance(
                    torch.autograd.grad((found * weights).sum(), contexts)[0], wanted
                )
                < CLOSE
            )

    def test_whole_texts_are_the_library_s(
        self, pair: tuple[Any, Any], distance: Any
    ) -> None:
        encoder, naive = pair
        texts = ["a photo of a cat.", "x", "some longer words."]
        batch = encoder.tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            wanted = naive.model.get_text_features(
                input_ids=batch.input_ids
            ).pooler_output
        assert (
            distance(encoder.text_features(texts), F.normalize(wanted, dim=1)) < CLOSE
        )

    @pytest.mark.parametrize("at_once", [1, 60, 10_000])  # tokens
    def test_classes_in_parts(
        self, pair: tuple[Any, Any], monkeypatch: Any, distance: Any, at_once: int
    ) -> None:
        """Recomputed parts give what one pass over all classes gives, also to the contexts."""
        encoder, _ = pair
        contexts = noise(2, 3, encoder.text_width).requires_grad_()
        tokens = encoder.class_tokens(
            [f"{'abc'[k % 3] * (1 + k % 5)} {k}" for k in range(21)], 3
        )
        monkeypatch.setattr(models, "MEMORY_AT_ONCE", 1e12)
        whole = encoder.prompt_features(contexts, tokens)
        weights = noise(*whole.shape, seed=9)
        wanted = torch.autograd.grad((whole * weights).sum(), contexts)[0]
        calls = []
        encode = encoder.encode_after_prefix
        token = models.KEPT * encoder.text_width * len(encoder.text_layers) * 4
        monkeypatch.setattr(models, "MEMORY_AT_ONCE", at_once * token)
        monkeypatch.setattr(
            encoder,
            "encode_after_prefix",
            lambda c, t: calls.append(len(t.ids)) or encode(c, t),
        )
        found = encoder.prompt_features(contexts, tokens)
        assert sum(calls) == 21 and (len(calls) > 1) == (at_once < 10_000)
        assert distance(found, whole) < CLOSE
        assert (
            distance(torch.autograd.grad((found * weights).sum(), contexts)[0], wanted)
            < CLOSE
        )

    def test_order_and_company_of_classes_do_not_matter(
        self, pair: tuple[Any, Any], distance: Any
    ) -> None:
        encoder, _ = pair
        contexts, names = (
            noise(2, 4, encoder.text_width),
            ["cat", "a rather long name", "dog", "x"],
        )
        tokens = encoder.class_tokens(names, 4)
        whole = encoder.prompt_features(contexts, tokens)
        columns = torch.tensor([2, 0])
        assert (
            distance(
                encoder.prompt_features(contexts, tokens.take(columns)),
                whole[:, columns],
            )
            < CLOSE
        )
        alone = torch.cat(
            [
                encoder.prompt_features(contexts, encoder.class_tokens([name], 4))
                for name in names
            ],
            1,
        )
        assert distance(alone, whole) < CLOSE
        each = torch.cat([encoder.prompt_features(c[None], tokens) for c in contexts])
        assert distance(each, whole) < CLOSE


def test_prompts_get_gradients_and_towers_do_not(pair: tuple[Any, Any]) -> None:
    encoder, _ = pair
    contexts = noise(2, 3, encoder.text_width).requires_grad_()
    prompts = noise(len(encoder.image_layers), 2, encoder.image_width).requires_grad_()
    features = encoder.image_features(pictures(encoder), list(prompts))
    (
        features
        @ encoder.prompt_features(contexts, encoder.class_tokens(["cat", "dog"], 3))[
            0
        ].T
    ).square().sum().backward()
    assert contexts.grad is not None and contexts.grad[0].abs().max() > 0
    assert prompts.grad is not None and prompts.grad.abs().max() > 0
    assert all(
        p.grad is None and not p.requires_grad for p in encoder.model.parameters()
    )


def test_a_batch_is_its_pictures_one_by_one(
    pair: tuple[Any, Any], distance: Any
) -> None:
    encoder, _ = pair
    pixels = pictures(encoder, 5)
    prompts = list(noise(len(encoder.image_layers), 2, encoder.image_width))
    alone = torch.cat([encoder.image_features(p[None], prompts) for p in pixels])
    assert distance(encoder.image_features(pixels, prompts), alone) < CLOSE


def test_more_tokens_than_the_small_kernel_takes(
    random_clip: Callable[..., Path], naive_clip: Any, distance: Any
) -> None:
    folder = random_clip(image=48, patch=4)
    encoder, naive = load_encoder(str(folder)), naive_clip(folder)
    assert encoder.image_tokens > SMALL
    pixels, prompts = pictures(encoder), noise(2, 20, encoder.image_width)
    assert (
        distance(
            encoder.image_features(pixels, list(prompts)), naive.images(pixels, prompts)
        )
        < CLOSE
    )


def test_operations_of_vit_b_16_are_the_published_ones() -> None:
    # 17.5 billion multiply-adds at 224 pixels (Dosovitskiy et al. 2021), patches apart
    assert operations(197, 768, 12) == pytest.approx(2 * 17.5e9, rel=0.02)
