"""Students: what they compute, what of them trains, and that a saved one is the same one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.classifiers import backbone, pretrained
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.encoder import normalise
from labelsieve.models.load import load_encoder

CPU = torch.device("cpu")
CLASSES = ["cat", "red panda", 'üñí "x"']


def pictures(side: int = 16, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def built(folder: Path, seed: int = 0) -> backbone.Student:
    return backbone.build(str(folder), CLASSES, seed=seed, device=CPU)


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
    tower, vit = built(random_clip()).model, built(random_classifier()).model
    names = {
        tune: set(backbone.trainable(tower, tune)) for tune in ("blocks", "all", "head")
    }
    head = {"classifier.weight", "classifier.bias"}
    assert names["head"] == head and names["all"] == {
        n for n, _ in tower.named_parameters()
    }
    assert names["blocks"] == head | {
        n for n in names["all"] if ".encoder.layers." in n
    }
    assert set(backbone.trainable(tower, None)) == names["blocks"]
    assert {n for n, p in tower.named_parameters() if p.requires_grad} == names[
        "blocks"
    ]
    assert set(backbone.trainable(vit, "head")) == head
    assert set(backbone.trainable(vit, None)) == {n for n, _ in vit.named_parameters()}
    with pytest.raises(OptionError, match="tune=blocks is for image towers"):
        backbone.trainable(vit, "blocks")


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


def every_student(
    random_clip: Any, random_siglip: Any, random_classifier: Any
) -> list[Path]:
    kinds = [random_classifier(kind) for kind in ("vit", "vit_mae", "resnet")]
    return [random_clip(), random_siglip(), *kinds]


def test_save_and_open_gives_the_same_bits(
    random_clip: Any, random_siglip: Any, random_classifier: Any, tmp_path: Path
) -> None:
    for number, folder in enumerate(
        every_student(random_clip, random_siglip, random_classifier)
    ):
        student, target = built(folder), tmp_path / str(number)
        pretrained.save(student, CLASSES, target)
        again, classes = pretrained.open_saved(str(target), device=CPU)
        assert classes == CLASSES and again.preprocess == student.preprocess
        with torch.no_grad():
            wanted = backbone.logits_of(student.model.eval(), pictures())
            assert torch.equal(backbone.logits_of(again.model, pictures()), wanted), (
                folder
            )
        assert not [
            p.name for p in target.iterdir() if p.suffix in (".bin", ".pt", ".pkl")
        ]
        assert json.loads((target / "config.json").read_text())["id2label"] == {
            str(i): c for i, c in enumerate(CLASSES)
        }
        assert (target / "preprocessor_config.json").is_file()


def test_transformers_opens_what_is_its_own(
    random_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    student = built(random_classifier())
    pretrained.save(student, CLASSES, tmp_path)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    with torch.no_grad():
        assert torch.equal(
            theirs(pictures()).logits, student.model.eval()(pictures()).logits
        )
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    prepared = AutoImageProcessor.from_pretrained(tmp_path)(
        picture, return_tensors="pt"
    ).pixel_values
    ours = normalise(
        torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()),
        student.preprocess,
        CPU,
    )
    assert torch.allclose(prepared, ours, atol=1e-5)


def test_transformers_opens_the_tower_and_refuses_to_classify_with_it(
    random_clip: Callable[..., Path], tmp_path: Path, distance: Any
) -> None:
    """Its own classifier for CLIP pools otherwise: a silent answer would be a wrong one."""
    from transformers import AutoModelForImageClassification, CLIPVisionModel

    student = built(random_clip())
    pretrained.save(student, CLASSES, tmp_path)
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForImageClassification.from_pretrained(tmp_path)
    tower = CLIPVisionModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        wanted = student.model.vision_model.eval()(pictures()).pooler_output
        assert distance(tower(pictures()).pooler_output, wanted) < 1e-6


def test_a_masked_autoencoder_lends_its_encoder(
    random_classifier: Callable[..., Path],
) -> None:
    from transformers import ViTMAEForPreTraining

    folder = random_classifier("vit_mae")
    theirs = dict(ViTMAEForPreTraining.from_pretrained(folder).named_parameters())
    ours = dict(built(folder).model.named_parameters())
    shared = [name for name in ours if name.startswith("vit.")]
    assert len(shared) > 10 and all(
        torch.equal(ours[name], theirs[name]) for name in shared
    )


def test_recipes_are_those_of_the_paper(
    random_clip: Any, random_siglip: Any, random_classifier: Any
) -> None:
    """Section 4.1 and table 11: optimiser, learning rate, weight decay."""
    paper = {
        "clip": ("sgd", 5e-4, 5e-4),
        "vit": ("sgd", 1e-2, 1e-5),
        "resnet": ("adamw", 1e-3, 1e-5),
        "convnext": ("adamw", 1e-4, 1e-4),
        "mae": ("adamw", 1e-4, 1e-3),
    }
    assert {
        n: (r["optimizer"], r["lr"], r["weight_decay"])
        for n, r in backbone.RECIPES.items()
    } == paper
    folders = every_student(random_clip, random_siglip, random_classifier)
    assert [backbone.recipe_name(str(f)) for f in folders] == [
        "clip",
        "clip",
        "vit",
        "mae",
        "resnet",
    ]
    assert (
        backbone.recipe_name("tiny") == "clip"
        and backbone.recipe_name("tiny", "vit") == "vit"
    )


@pytest.mark.parametrize(("edge", "share"), [(24, 0.875), (24, 0.9), (384, 0.9)])
def test_pictures_are_prepared_as_convnexts_processor_does(
    random_classifier: Callable[..., Path], tmp_path: Path, edge: int, share: float
) -> None:
    """Resized by a share, then cropped; from 384 pixels on warped to a square."""
    from PIL import Image
    from transformers import ConvNextImageProcessorPil

    pretrained.save(built(random_classifier("resnet")), CLASSES, tmp_path)
    theirs = ConvNextImageProcessorPil(size={"shortest_edge": edge}, crop_pct=share)
    theirs.save_pretrained(tmp_path)
    preprocess = pretrained.open_saved(str(tmp_path), device=CPU)[0].preprocess
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)).resize(
        (130, 90)
    )
    wanted = theirs(picture, return_tensors="pt").pixel_values
    ours = normalise(
        torch.from_numpy(preprocess(picture).copy()).permute(2, 0, 1)[None],
        preprocess,
        CPU,
    )
    assert ours.shape == wanted.shape and (ours - wanted).abs().mean() < 0.02


def test_models_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for where in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ModelError, match=r"cannot be loaded") as caught:
            backbone.build(str(where), CLASSES, seed=0, device=CPU)
        assert "\n" not in str(caught.value)


def test_a_damaged_tower_is_an_error(
    random_clip: Callable[..., Path], tmp_path: Path
) -> None:
    pretrained.save(built(random_clip()), CLASSES, tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:200])
    with pytest.raises(ModelError, match="cannot be loaded"):
        pretrained.open_saved(str(tmp_path), device=CPU)
