"""Image towers of open_clip as backbones, with random weights, against open_clip itself.

The library needs torchvision, which is not there in every environment: `make open-clip` runs
this file in one of its own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.models import shake
from safetensors.torch import save_file

from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.recipe import recipe_name
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.load import load_encoder

try:
    import open_clip
except Exception as error:  # a torchvision that does not fit raises RuntimeError
    pytest.skip(f"open_clip: {error}", allow_module_level=True)

CPU = torch.device("cpu")
CLASSES = ["cat", "red panda", 'üñí "x"']
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "timm": {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_pool": "token",
        "timm_proj": "linear",
    },
    "resnet": {
        "image_size": 64,
        "layers": [1, 1, 1, 1],
        "width": 16,
        "patch_size": None,
    },
}


@functools.cache
def library_model(kind: str) -> Any:
    made = open_clip.CLIP(24, json.loads(json.dumps(TOWERS[kind])), TEXT)
    return shake(made).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @functools.cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        config = {"embed_dim": 24, "vision_cfg": TOWERS[kind], "text_cfg": TEXT}
        content = {"model_cfg": config, "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(content))
        tensors = library_model(kind).state_dict()
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, folder / "open_clip_model.safetensors")
        return folder

    return make


@pytest.mark.parametrize("kind", ["vit", "timm"])
def test_the_whole_way(
    kind: str, write: Callable[[str], Path], whole_way: Callable[..., Path]
) -> None:
    name = f"open_clip:{write(kind)}"
    assert recipe_name(name) == "clip"
    trained = whole_way(name, "checkpointing=true")
    config = json.loads((trained / "config.json").read_text())
    assert config["library"] == "open_clip"


@pytest.mark.parametrize("kind", TOWERS)
def test_the_head_reads_what_the_projection_would_get(
    kind: str, write: Callable[[str], Path], tmp_path: Path
) -> None:
    built = backbone.build(str(write(kind)), CLASSES, seed=0, device=CPU)
    side = built.preprocess.height
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        pooled = built.model.visual.eval()(x)
        wanted = library_model(kind).encode_image(x)
        if kind == "vit":
            pooled = pooled @ library_model(kind).visual.proj
        if kind == "timm":
            pooled = library_model(kind).visual.head(pooled)
        assert torch.allclose(pooled, wanted, atol=1e-5)
        answers = built.model.eval()(x)
    pretrained.save(built, CLASSES, tmp_path)
    again, classes = pretrained.open_saved(str(tmp_path), device=CPU)
    assert classes == CLASSES and again.preprocess == built.preprocess
    with torch.no_grad():
        assert torch.equal(again.model(x), answers)
    other = backbone.build(str(tmp_path), ["a", "b"], seed=0, device=CPU)
    for name, tensor in other.model.visual.state_dict().items():
        assert torch.equal(tensor, built.model.visual.state_dict()[name]), name


def test_what_trains(write: Callable[[str], Path]) -> None:
    tower = backbone.build(str(write("vit")), CLASSES, seed=0, device=CPU)
    names = set(backbone.trainable(tower, None))
    assert names - tower.head == {
        n for n, _ in tower.model.named_parameters() if ".resblocks." in n
    }
    assert len(names) > 20
    other = backbone.build(str(write("resnet")), CLASSES, seed=0, device=CPU)
    assert set(backbone.trainable(other, None)) == {
        n for n, _ in other.model.named_parameters()
    }
    with pytest.raises(OptionError, match="tune=blocks is for image towers"):
        backbone.trainable(other, "blocks")


def test_a_head_from_texts_is_the_zero_shot_classifier(
    write: Callable[[str], Path],
) -> None:
    """Exactly, for the picture whose length it is scaled by."""
    built = backbone.build(str(write("vit")), CLASSES, seed=0, device=CPU)
    encoder = load_encoder(str(write("vit")))
    one = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    backbone.head_from_texts(built, CLASSES, one)
    with torch.no_grad():
        cosines = encoder.image_features(one) @ encoder.text_features(CLASSES).T
        wanted = encoder.logit_scale * cosines
        assert torch.allclose(built.model.eval()(one), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "number its classes from 0"),
        ({"id2label": {"0": "a"}}, "in another shape 'classifier"),
        ({"model_cfg": 5}, "has no model_cfg"),
        ({"model_cfg": {"cache_dir": "/"}}, "'cache_dir' of its"),
        (
            {"vision_cfg": {**TOWERS["vit"], "width": 90_000, "head_width": 9}},
            "its files hold",
        ),
        ({"vision_cfg": {**TOWERS["vit"], "layers": 10**6}}, "gives layers as"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:evil/x"}}, "by a repository"),
    ],
)
def test_folders_of_strangers(
    entries: dict[str, Any], said: str, write: Callable[[str], Path], tmp_path: Path
) -> None:
    built = backbone.build(str(write("vit")), CLASSES, seed=0, device=CPU)
    pretrained.save(built, CLASSES, tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    if "vision_cfg" in entries:
        entries = {"model_cfg": {**config["model_cfg"], **entries}}
    path.write_text(json.dumps({**config, **entries}))
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        pretrained.open_saved(str(tmp_path), device=CPU)
    assert said in str(caught.value) and "\n" not in str(caught.value)
