"""CLIP checkpoints: the embedded one and random ones against transformers' own model and
preprocessing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from labelsieve.models.encoder import ClassTokens
from labelsieve.models.families import clip
from labelsieve.models.hugging_face import TINY
from labelsieve.models.load import load_encoder

NAMES = ["cat", "a rather long name", "x"]


def pictures(seed: int = 0, count: int = 4, side: int = 16) -> torch.Tensor:
    return torch.randn(
        count, 3, side, side, generator=torch.Generator().manual_seed(seed)
    )


def test_claims_clip_alone(
    random_clip: Callable[..., Path], random_siglip: Callable[..., Path]
) -> None:
    assert clip.claims("tiny") and clip.claims(str(random_clip()))
    assert not clip.claims(str(random_siglip()))


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_zero_shot_logits_are_the_library_s(
    random_clip: Callable[..., Path], distance: Any, activation: str
) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = random_clip(activation=activation)
    encoder = load_encoder(str(folder))
    texts = [f"a photo of a {name}." for name in NAMES]
    batch = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = AutoModel.from_pretrained(folder)(
            **batch, pixel_values=pictures()
        ).logits_per_image
    found = (
        encoder.logit_scale
        * encoder.image_features(pictures())
        @ encoder.text_features(texts).T
    )
    assert distance(found, wanted) < 1e-5


def test_the_embedded_model_is_read_as_the_library_reads_it(
    tiny: Any, distance: Any
) -> None:
    """From a picture and a sentence on: processor, tokenizer, towers and scale."""
    from transformers import AutoModel, AutoProcessor

    processor = AutoProcessor.from_pretrained(TINY)
    model = AutoModel.from_pretrained(TINY, dtype=torch.float32)
    rng = np.random.default_rng(0)
    shots = [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        for h, w in ((32, 32), (32, 40), (50, 32))
    ]
    texts = ["a photo of a cat.", "a red flower", "ship"]
    batch = processor(
        text=texts,
        images=shots,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        wanted = model(**batch).logits_per_image
    ready = torch.from_numpy(
        np.stack([tiny.preprocess(shot) for shot in shots])
    ).permute(0, 3, 1, 2)
    found = (
        tiny.logit_scale
        * tiny.image_features(tiny.normalise(ready))
        @ tiny.text_features(texts).T
    )
    assert (
        distance(found, wanted) < 1e-2
    )  # resizing rounds to whole numbers differently in the two libraries
    exact = (
        tiny.logit_scale
        * tiny.image_features(batch["pixel_values"])
        @ tiny.text_features(texts).T
    )
    assert distance(exact, wanted) < 1e-4


def test_class_tokens(random_clip: Callable[..., Path]) -> None:
    """Name, point and end of each class, padded behind the end."""
    encoder = load_encoder(str(random_clip()))
    tokens = encoder.class_tokens(NAMES, 4)
    for k, name in enumerate(NAMES):
        end = int(tokens.end[k])
        assert encoder.tokenizer.convert_ids_to_tokens(
            tokens.ids[k, : end + 1].tolist()
        ) == [
            *name,
            ".",
            "<end>",
        ]
    assert tokens.ids.shape[1] == max(map(len, NAMES)) + 2
    part = tokens.take(torch.tensor([2, 0]))
    assert torch.equal(part.ids, tokens.ids[[2, 0]]) and torch.equal(
        part.end, tokens.end[[2, 0]]
    )


def test_from_ids_is_class_tokens(random_clip: Callable[..., Path]) -> None:
    encoder = load_encoder(str(random_clip()))
    assert isinstance(encoder, clip.ClipEncoder)
    rows = [torch.tensor(encoder.tokenizer(f"{name}.").input_ids[1:]) for name in NAMES]
    made, wanted = encoder.from_ids(rows), encoder.class_tokens(NAMES, 4)
    assert torch.equal(made.ids, wanted.ids) and torch.equal(made.end, wanted.end)


def test_what_stands_behind_the_end_token_does_not_matter(
    random_clip: Callable[..., Path], distance: Any
) -> None:
    encoder = load_encoder(str(random_clip()))
    contexts = torch.randn(
        2, 3, encoder.text_width, generator=torch.Generator().manual_seed(0)
    )
    tokens = encoder.class_tokens(NAMES, 3)
    noisy = ClassTokens(tokens.ids.clone(), tokens.end)
    for k, end in enumerate(tokens.end.tolist()):
        noisy.ids[k, end + 1 :] = 50
    assert not torch.equal(noisy.ids, tokens.ids)
    assert (
        distance(
            encoder.prompt_features(contexts, noisy),
            encoder.prompt_features(contexts, tokens),
        )
        < 1e-6
    )


def test_old_configurations_with_wrong_end_ids(
    random_clip: Callable[..., Path], naive_clip: Any, tmp_path: Path, distance: Any
) -> None:
    """Checkpoints saved before transformers 4.31 say that the end token is 2; the
    tokenizer knows better.
    """
    folder = shutil.copytree(random_clip(), tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    encoder, new = load_encoder(str(folder)), load_encoder(str(random_clip()))
    assert encoder.text_features(NAMES).equal(new.text_features(NAMES))
    contexts = torch.randn(
        2, 3, encoder.text_width, generator=torch.Generator().manual_seed(0)
    )
    found = encoder.prompt_features(contexts, encoder.class_tokens(NAMES, 3))
    assert found.equal(new.prompt_features(contexts, new.class_tokens(NAMES, 3)))


def test_pooled_is_before_the_projection(
    random_clip: Callable[..., Path], naive_clip: Any, distance: Any
) -> None:
    folder = random_clip()
    encoder, naive = load_encoder(str(folder)), naive_clip(folder)
    assert distance(encoder.image_pooled(pictures()), naive.pooled(pictures())) < 1e-5
    pooled = encoder.image_pooled(pictures())
    assert (
        distance(
            encoder.project_image(pooled),
            pooled @ naive.model.visual_projection.weight.T,
        )
        < 1e-5
    )
