"""A cache of the test's own, a random tower, and a few random pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve import progress
from labelsieve.data.dataset import Dataset
from labelsieve.features import cached
from labelsieve.features.task import Task
from labelsieve.models.load import load_encoder

COUNT = 23


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of features in an empty cache; batches are small enough for several."""
    monkeypatch.setenv("LABELSIEVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cached, "BATCH", 4)
    monkeypatch.setattr(cached, "BLOCK", 5)
    return tmp_path / "cache" / "features"


@pytest.fixture
def encoder(random_clip: Callable[..., Path]) -> Any:
    return load_encoder(str(random_clip()))


@pytest.fixture
def images(encoder: Any, labelled: Callable[..., Dataset]) -> Dataset:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    return labelled(
        encoder.preprocess, pictures, [("cat", "dog")[i % 2] for i in range(COUNT)]
    )


@pytest.fixture
def task(images: Dataset, encoder: Any) -> Task:
    return Task(images, encoder)


@pytest.fixture
def direct(images: Dataset, encoder: Any) -> np.ndarray:
    """[n, d] features in one pass through the tower."""
    pixels = images.inputs(np.arange(len(images)))
    with torch.no_grad():
        return encoder.image_features(encoder.normalise(pixels)).numpy()


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a person is shown while work goes on."""
    lines: list[str] = []
    monkeypatch.setattr(progress, "note", lines.append)
    return lines
