"""DeFT on models of other scales: it never loses to what it starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.features.task import Task
from labelsieve.methods import deft, surrogate, zero_shot
from labelsieve.models.load import load_encoder
from labelsieve.pipeline.demo import WORDS

ALLOWED = 0.01  # F1


@torch.no_grad()
def rescaled(encoder: Any, factor: float) -> None:
    """The same function of texts with vectors of another size, as real CLIP has them.

    Everything that is added to the stream of a text tower is multiplied; its norms divide again.
    """
    tower = encoder.model.text_model
    tower.embeddings.token_embedding.weight *= factor
    tower.embeddings.position_embedding.weight *= factor
    for layer in tower.encoder.layers:
        for added in (layer.self_attn.out_proj, layer.mlp.fc2):
            added.weight *= factor
            added.bias *= factor


def digits(labelled: Callable[..., Any], encoder: Any) -> tuple[Task, np.ndarray]:
    """600 digits, every fifth of them named wrongly; [n] bool which."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    rng = np.random.default_rng(0)
    rows = rng.choice(len(bundle.target), 600, replace=False)
    truth = bundle.target[rows]
    given = truth.copy()
    chosen = rng.random(600) < 0.2
    given[chosen] = (truth[chosen] + rng.integers(1, 10, chosen.sum())) % 10
    grey = (bundle.images[rows] * 15.9).astype(np.uint8)
    pictures = np.repeat(grey[..., None], 3, axis=3)
    data = labelled(
        encoder.preprocess,
        pictures,
        [WORDS[k] for k in given],
        "a handwritten digit {}.",
    )
    # rows of the data set are named after those that were handed in
    at = [int(i.partition("#")[0].removeprefix("row")) for i in data.ids.to_pylist()]
    return Task(data, encoder, 0, None, "stress"), chosen[at]


def f1(flagged: np.ndarray, wrong: np.ndarray) -> float:
    return float(2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()))


def test_a_rescaled_text_tower_is_the_same_function() -> None:
    plain, other = load_encoder("tiny"), load_encoder("tiny")
    rescaled(other, 1 / 3)
    texts = ["a photo of a cat.", "a handwritten digit seven."]
    torch.testing.assert_close(
        other.text_features(texts), plain.text_features(texts), rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "factor"), [(100.0, 1.0), (None, 1 / 3), (None, 3.0), (100.0, 1 / 3)]
)
@pytest.mark.parametrize("preset", ["default", "tuned"])
def test_other_scales_cost_nothing_against_the_start(
    labelled: Callable[..., Any], scale: float | None, factor: float, preset: str
) -> None:
    encoder: Any = load_encoder("tiny")
    rescaled(encoder, factor)
    if scale is not None:
        encoder.logit_scale = scale
    task, wrong = digits(labelled, encoder)
    starts = [
        f1(method.detect(task, method.Settings()).flagged, wrong)
        for method in (zero_shot, surrogate)
    ]
    found = deft.detect(task, deft.Settings(**deft.PRESETS[preset]))
    assert f1(found.flagged, wrong) >= max(starts) - ALLOWED
