"""timm's models as backbones, with random weights, against timm itself.

timm needs torchvision, which is not there in every environment: `make open-clip` runs this file
in one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models import shake
from PIL import Image
from safetensors.torch import load_file, save_file

from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.recipe import recipe_name
from labelsieve.errors import ModelError, OptionError
from labelsieve.models.encoder import normalise

try:
    import timm
except Exception as error:  # a torchvision that does not fit raises RuntimeError
    pytest.skip(f"timm: {error}", allow_module_level=True)

CPU = torch.device("cpu")
CLASSES = ["cat", "red panda", 'üñí "x"']


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as timm's own saver leaves it."""
    path = tmp_path_factory.mktemp("timm")
    model = timm.create_model("test_vit", num_classes=7, img_size=64)
    timm.models.save_for_hf(shake(model), path, safe_serialization=True)
    return path


@pytest.fixture
def saved(folder: Path, tmp_path: Path) -> Path:
    built = backbone.build(f"timm:{folder}", CLASSES, seed=0, device=CPU)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    return tmp_path / "saved"


def pictures(built: backbone.Backbone) -> torch.Tensor:
    side = built.preprocess.height
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(5))


def test_the_whole_way(folder: Path, whole_way: Callable[..., Path]) -> None:
    assert recipe_name(f"timm:{folder}") == "convnext"  # test_vit: timm's name for it
    trained = whole_way(f"timm:{folder}", "checkpointing=true")
    names = json.loads((trained / "config.json").read_text())["label_names"]
    theirs = timm.create_model(f"local-dir:{trained}", pretrained=True).eval()
    opened, classes = pretrained.open_saved(str(trained), device=CPU)
    assert classes == names
    with torch.no_grad():
        x = pictures(opened)
        assert torch.equal(theirs(x), opened.model(x))


def test_only_the_head_is_new(folder: Path) -> None:
    built = backbone.build(str(folder), CLASSES, seed=1, device=CPU)
    own, theirs = built.model.state_dict(), load_file(folder / "model.safetensors")
    assert built.head == {"head.weight", "head.bias"}
    assert own["head.weight"].shape == (3, theirs["head.weight"].shape[1])
    assert all(torch.equal(own[n], theirs[n]) for n in own.keys() - built.head)
    assert set(backbone.trainable(built, "head")) == built.head
    again = backbone.build(str(folder), CLASSES, seed=1, device=CPU)
    assert torch.equal(again.model.head.weight, built.model.head.weight)
    with pytest.raises(OptionError, match="tune=blocks is for image towers"):
        backbone.trainable(built, "blocks")


def test_pictures_are_prepared_as_timm_does(folder: Path) -> None:
    built = backbone.build(str(folder), CLASSES, seed=0, device=CPU)
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config(model=built.model), is_training=False
    )
    noise = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((130, 90))
    pixels = torch.from_numpy(built.preprocess(picture).copy()).permute(2, 0, 1)
    ours = normalise(pixels[None], built.preprocess, CPU)[0]
    assert (ours - transform(picture)).abs().max() < 0.02


def test_a_classifier_is_the_same_bits_again(folder: Path, saved: Path) -> None:
    first = backbone.build(f"timm:{folder}", CLASSES, seed=0, device=CPU)
    again, classes = pretrained.open_saved(str(saved), device=CPU)
    assert classes == CLASSES and again.preprocess == first.preprocess
    with torch.no_grad():
        x = pictures(first)
        assert torch.equal(again.model(x), first.model.eval()(x))


def test_random_weights_and_names_that_are_none() -> None:
    built = backbone.build("timm:test_resnet/random", CLASSES, seed=0, device=CPU)
    assert built.head == {"fc.weight", "fc.bias"}
    assert recipe_name("timm:resnet18/random") == "resnet"
    assert recipe_name("timm:vit_small_patch16_224/random") == "vit"
    assert recipe_name("timm:convnext_tiny/random") == "convnext"
    with pytest.raises(ModelError, match=r"timm knows no model.*Did you mean resnet"):
        backbone.family_of("timm:x").build("timm:resnet1x", CLASSES, 0, CPU)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        backbone.build("timm:vit_small_patch16_224", CLASSES, seed=0, device=CPU)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_args": {"checkpoint_path": "evil.pth"}}, "'checkpoint_path' of its"),
        ({"model_args": {"pretrained": True}}, "'pretrained' of its model_args"),
        ({"model_args": {"img_size": "../../evil"}}, "'img_size' of its model_args"),
        ({"model_args": {"embed_dim": 90_000, "depth": 2}}, "its files hold"),
        ({"model_args": {"embed_dim": 10**9}}, "gives embed_dim as"),
        ({"architecture": "evil"}, "timm knows no architecture 'evil'"),
        ({"architecture": "test_resnet", "model_args": {}}, "weights lack"),
        ({"label_names": None}, "names no classes"),
        ({"label_names": ["a", "b"]}, "have in another shape 'head"),
        ({"pretrained_cfg": {"std": [0, 0, 0]}}, "image_std cannot be computed"),
    ],
)
def test_configurations_of_strangers(
    saved: Path, entries: dict[str, Any], said: str
) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        pretrained.open_saved(str(saved), device=CPU)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_strangers(saved: Path) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "head.bias": torch.full((3,), torch.nan)}, path)
    with pytest.raises(ModelError, match=r"'head.bias' are not finite"):
        pretrained.open_saved(str(saved), device=CPU)
    path.unlink()
    torch.save(tensors, saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle"):
        pretrained.open_saved(str(saved), device=CPU)
