"""Students: what they compute, what of them trains, and that a saved one is the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.backbones import CLASSES, CPU, built, pictures

from labelsieve.classifiers import backbone
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.load import load_encoder


def test_a_new_head_comes_from_the_seed_and_from_nothing_else(
    random_clip: Callable[..., Path], random_classifier: Callable[..., Path]
) -> None:
    for folder in (random_clip(), random_classifier()):
        before = torch.get_rng_state()
        heads = [built(folder, seed).model.classifier.weight for seed in (1, 1, 2)]
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
        assert len(heads[0]) == len(CLASSES)


def test_what_trains(
    random_clip: Callable[..., Path], random_classifier: Callable[..., Path]
) -> None:
    student, other = built(random_clip()), built(random_classifier())
    tower, vit = student.model, other.model
    names = {
        tune: set(backbone.trainable(student, tune))
        for tune in ("blocks", "all", "head")
    }
    head = {"classifier.weight", "classifier.bias"}
    assert names["head"] == head and names["all"] == {
        n for n, _ in tower.named_parameters()
    }
    assert names["blocks"] == head | {
        n for n in names["all"] if ".encoder.layers." in n
    }
    assert set(backbone.trainable(student, None)) == names["blocks"]
    assert {n for n, p in tower.named_parameters() if p.requires_grad} == names[
        "blocks"
    ]
    assert set(backbone.trainable(other, "head")) == head
    assert set(backbone.trainable(other, None)) == {
        n for n, _ in vit.named_parameters()
    }
    with pytest.raises(OptionError, match="tune=blocks is for image towers"):
        backbone.trainable(other, "blocks")


def test_a_head_from_texts_is_the_zero_shot_classifier(
    random_clip: Callable[..., Path], distance: Any
) -> None:
    """Exactly, for the picture whose length it is scaled by."""
    student, texts = built(random_clip()), ["a cat", "a dog", "x"]
    encoder, one = load_encoder(str(random_clip())), pictures(count=1)
    backbone.head_from_texts(student, texts, one)
    with torch.no_grad():
        wanted = (
            encoder.logit_scale
            * encoder.image_features(one)
            @ encoder.text_features(texts).T
        )
        assert distance(backbone.logits_of(student.model.eval(), one), wanted) < 1e-5


def test_only_image_text_models_have_texts(
    random_classifier: Callable[..., Path],
) -> None:
    with pytest.raises(OptionError, match="head_start=text needs an image-text model"):
        backbone.head_from_texts(
            built(random_classifier()), ["a", "b", "c"], pictures()
        )


def test_models_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for where in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelError, match=r"cannot be loaded") as caught:
            backbone.build(str(where), CLASSES, seed=0, device=CPU)
        assert "\n" not in str(caught.value)
