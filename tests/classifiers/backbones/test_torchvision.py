"""torchvision's classifiers as backbones, with random weights, against torchvision itself.

torchvision wants a torch of its own, which is not there in every environment: `make open-clip`
runs this file in one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from labelsieve.classifiers import backbone, pretrained
from labelsieve.classifiers.recipe import recipe_name
from labelsieve.errors import LabelsieveError, ModelError, OptionError

try:
    from torchvision import models
except Exception as error:  # one that does not fit raises RuntimeError
    pytest.skip(f"torchvision: {error}", allow_module_level=True)

CPU = torch.device("cpu")
CLASSES = ["cat", "red panda", 'üñí "x"']


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the command of the message writes them."""
    path = tmp_path_factory.mktemp("torchvision") / "resnet18.safetensors"
    save_file(models.resnet18().state_dict(), path)
    return path


@pytest.fixture
def saved(weights: Path, tmp_path: Path) -> Path:
    name = f"torchvision:resnet18/{weights}"
    built = backbone.build(name, CLASSES, seed=0, device=CPU)
    pretrained.save(built, CLASSES, tmp_path / "saved")
    return tmp_path / "saved"


def test_the_whole_way(weights: Path, whole_way: Callable[..., Path]) -> None:
    name = f"torchvision:resnet18/{weights}"
    assert recipe_name(name) == "resnet"
    trained = whole_way(name)
    theirs = models.resnet18(num_classes=4).eval()
    theirs.load_state_dict(load_file(trained / "model.safetensors"))
    opened, _ = pretrained.open_saved(str(trained), device=CPU)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert torch.equal(theirs(x), opened.model(x))


def test_only_the_head_is_new(weights: Path) -> None:
    name = f"torchvision:resnet18/{weights}"
    built = backbone.build(name, CLASSES, seed=1, device=CPU)
    own, theirs = built.model.state_dict(), load_file(weights)
    assert built.head == {"fc.weight", "fc.bias"}
    assert all(torch.equal(own[n], theirs[n]) for n in own.keys() - built.head)
    with pytest.raises(OptionError, match="checkpointing is not supported by ResNet"):
        built.save_memory()


@pytest.mark.parametrize(
    ("name", "head"),
    [("vit_b_32", "heads.head"), ("convnext_tiny", "classifier.2"), ("swin_t", "head")],
)
def test_heads_of_other_architectures(name: str, head: str) -> None:
    built = backbone.build(f"torchvision:{name}/random", CLASSES, seed=0, device=CPU)
    assert built.head == {f"{head}.weight", f"{head}.bias"}
    assert built.linear is built.model.get_submodule(head)


def test_a_saved_classifier_is_a_backbone_again(saved: Path) -> None:
    opened, classes = pretrained.open_saved(str(saved), device=CPU)
    assert classes == CLASSES
    again = backbone.build(str(saved), ["a", "b"], seed=0, device=CPU)
    assert again.preprocess == opened.preprocess
    assert torch.equal(again.model.conv1.weight, opened.model.conv1.weight)


def test_names_that_are_none() -> None:
    with pytest.raises(
        ModelError, match=r"pickles.*weights='DEFAULT'.*resnet18/random"
    ):
        backbone.build("torchvision:resnet18", CLASSES, seed=0, device=CPU)
    with pytest.raises(LabelsieveError, match=r"'resnet81'.*resnet18"):
        backbone.build("torchvision:resnet81/random", CLASSES, seed=0, device=CPU)
    with pytest.raises(ModelError, match="ends in no linear layer"):
        backbone.build("torchvision:squeezenet1_0/random", CLASSES, seed=0, device=CPU)
    with pytest.raises(ModelError, match="no file of safetensors"):
        backbone.build(f"torchvision:resnet18/{__file__}", CLASSES, seed=0, device=CPU)
    with pytest.raises(ModelError, match=r"it has no gone\.safetensors"):
        name = "torchvision:resnet18/gone.safetensors"
        backbone.build(name, CLASSES, seed=0, device=CPU)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"architecture": "evil"}, "'evil'"),
        ({"architecture": "resnet34"}, "its weights lack"),
        ({"id2label": {"0": "a", "2": "b"}}, "number its classes from 0"),
        ({"id2label": ["a", "b", "c"]}, "names no classes"),
        ({"id2label": {"0": "a", "1": "b"}}, "in another shape 'fc"),
    ],
)
def test_folders_of_strangers(saved: Path, entries: dict[str, Any], said: str) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    with pytest.raises(ModelError) as caught:
        pretrained.open_saved(str(saved), device=CPU)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_its_weights(saved: Path) -> None:
    torch.save(load_file(saved / "model.safetensors"), saved / "model.pth")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="is a pickle"):
        pretrained.open_saved(str(saved), device=CPU)
