from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from labelsieve.classifiers import backbone
from labelsieve.classifiers.objective import Objective
from labelsieve.classifiers.recipe import Settings
from labelsieve.tables import SAMPLES

N = 48
PLAIN = {"crop": 1.0, "mirror": False, "weight_decay": 0.0, "batch_size": 8}


@pytest.fixture
def fitting(labelled: Callable[..., Any], random_clip: Any) -> Callable[..., Any]:
    """Any trainer, with settings, on 48 pictures of three brightnesses, one label in four wrong."""
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    shade = np.array([60, 128, 200])[true][:, None, None, None]
    drawn = (shade + rng.integers(-50, 50, (N, 16, 16, 3))).astype(np.uint8)
    names = ["abc"[(y + (i % 4 == 0)) % 3] for i, y in enumerate(true)]
    kept: list[Any] = []

    def build(trainer: Any, **settings: Any) -> Any:
        built = backbone.build(
            str(random_clip()), ["a", "b", "c"], seed=1, device=torch.device("cpu")
        )
        # the same pictures for all of a test: their features are cached
        if not kept:
            kept.append(labelled(built.preprocess, drawn, names))
        images = kept[0]
        given = [images.classes[k] for k in images.labels]
        part = ["validation" if i % 8 == 5 else "train" for i in range(N)]
        rows = pa.table(
            [images.ids, given, given, np.ones(N), ["clean"] * N, part], schema=SAMPLES
        )
        chosen = Settings(**{"lr": 0.01, **PLAIN, **settings})
        return trainer(built, images, rows, chosen, Objective(), 7)

    return build
