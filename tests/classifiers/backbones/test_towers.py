"""Image towers: what their head reads, and what transformers makes of a saved one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.backbones import CLASSES, CPU, built, pictures

from labelsieve.classifiers import backbone, pretrained
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.load import load_encoder


def test_a_tower_reads_the_class_token_after_the_last_norm(
    random_clip: Callable[..., Path], naive_clip: Any, distance: Any
) -> None:
    folder = random_clip()
    model = built(folder).model.eval()
    with torch.no_grad():
        wanted = (
            naive_clip(folder).pooled(pictures()) @ model.classifier.weight.T
            + model.classifier.bias
        )
        assert distance(backbone.logits_of(model, pictures()), wanted) < 1e-5


def test_a_siglip_tower_reads_its_attention_pooling(
    random_siglip: Callable[..., Path], distance: Any
) -> None:
    folder = random_siglip()
    model = built(folder).model.eval()
    with torch.no_grad():
        wanted = model.classifier(load_encoder(str(folder)).image_pooled(pictures()))
        assert distance(backbone.logits_of(model, pictures()), wanted) < 1e-5


def test_transformers_opens_the_tower_and_refuses_to_classify_with_it(
    random_clip: Callable[..., Path], tmp_path: Path, distance: Any
) -> None:
    """Its own classifier for CLIP pools otherwise: a silent answer would be a wrong one."""
    from transformers import AutoModelForImageClassification, CLIPVisionModel

    saved = built(random_clip())
    pretrained.save(saved, CLASSES, tmp_path)
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForImageClassification.from_pretrained(tmp_path)
    tower = CLIPVisionModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wanted = saved.model.vision_model.eval()(pictures()).pooler_output
        assert distance(tower(pictures()).pooler_output, wanted) < 1e-6


def test_a_saved_tower_is_a_backbone_again(
    random_clip: Callable[..., Path], tmp_path: Path
) -> None:
    first = built(random_clip())
    pretrained.save(first, CLASSES, tmp_path)
    again = backbone.build(str(tmp_path), ["a", "b"], seed=0, device=CPU)
    assert again.linear.out_features == 2 and again.preprocess == first.preprocess
    tower = first.model.vision_model.state_dict()
    for name, tensor in again.model.vision_model.state_dict().items():
        assert torch.equal(tensor, tower[name]), name
    with pytest.raises(OptionError, match="head_start=text needs an image-text model"):
        backbone.head_from_texts(again, ["a", "b"], pictures())


def test_an_image_text_model_does_not_classify(
    random_clip: Callable[..., Path],
) -> None:
    with pytest.raises(ModelError, match="no head that classifies"):
        pretrained.open_saved(str(random_clip()), device=CPU)
