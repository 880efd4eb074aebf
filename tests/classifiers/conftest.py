"""A classifier of digits that was never trained, saved and opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from labelsieve.classifiers import backbone
from labelsieve.classifiers.classifier import Classifier

CLASSES = ["zero", "one", "two", "three"]


@pytest.fixture(scope="module")
def saved(
    random_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    built = backbone.build(
        str(random_clip()), CLASSES, seed=3, device=torch.device("cpu")
    )
    with torch.no_grad():
        built.model.classifier.weight.mul_(20)  # answers that differ
    folder = tmp_path_factory.mktemp("model")
    Classifier(built, CLASSES, "# a card\n").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def opened(saved: Path) -> Classifier:
    return Classifier.from_pretrained(saved, device="cpu", precision="float32")
