"""Whether mirroring changes classes is seen from the pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from labelsieve.data.augment import views
from labelsieve.features.cached import (
    Corners,
    Few,
    ImageFeatures,
    Mirrored,
    as_words,
    from_words,
)
from labelsieve.features.task import Task
from labelsieve.methods import _mirroring as mirroring
from labelsieve.models.load import load_encoder

SIDES = ("left", "right")


def sided(labelled: Callable[..., Any], encoder: Any, *, matters: bool) -> Task:
    """A bright half; its side is the class, or its colour is and its side is chance."""
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2
    side = truth if matters else rng.permutation(truth)
    pictures = rng.integers(0, 60, (80, 32, 32, 3), dtype=np.uint8)
    for i, s in enumerate(side):
        half = slice(0, 16) if s == 0 else slice(16, 32)
        channel = slice(0, 3) if matters else (0 if truth[i] == 0 else 2)
        pictures[i, :, half, channel] = 240
    data = labelled(encoder.preprocess, pictures, [SIDES[k] for k in truth])
    return Task(data, encoder)


@pytest.mark.parametrize("matters", [True, False])
def test_sides_that_are_classes_are_not_mirrored(
    labelled: Callable[..., Any], matters: bool
) -> None:
    task = sided(labelled, load_encoder("tiny"), matters=matters)
    assert mirroring.keeps_classes(task) is not matters


def test_a_loss_that_may_be_chance_is_none() -> None:
    right = np.arange(20) < 15
    assert not mirroring._clearly_lost(right, np.arange(20) < 13)
    assert mirroring._clearly_lost(np.tile(right, 20), np.tile(np.arange(20) < 12, 20))


def test_features_of_corners_and_of_mirrored_pictures(
    labelled: Callable[..., Any],
) -> None:
    """The mean over crops of 85 % into the corners, here cut out by hand."""
    encoder = load_encoder("tiny")
    task = sided(labelled, encoder, matters=True)
    rows = np.arange(3)
    pixels = encoder.normalise(task.data.inputs(rows))
    seen = ImageFeatures(task.data, encoder)
    with torch.no_grad():
        turned = encoder.image_features(pixels.flip(-1)).numpy()
        grid = (torch.arange(32) + 0.5) / 16 - 1  # centres of pixels, from -1 to 1
        total = 0
        for right, down in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            x, y = 0.85 * grid + 0.15 * right, 0.85 * grid + 0.15 * down
            where = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
            crop = torch.nn.functional.grid_sample(
                pixels,
                where.expand(3, -1, -1, -1),
                padding_mode="reflection",
                align_corners=False,
            )
            total = total + encoder.image_features(crop)
    np.testing.assert_allclose(seen.some(rows, Mirrored()), turned, atol=1e-5)
    mean = torch.nn.functional.normalize(total, dim=1).numpy()
    np.testing.assert_allclose(seen.some(rows, Corners(mirror=False)), mean, atol=1e-5)
    assert np.abs(seen.some(rows, Corners()) - mean).max() > 1e-3


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("crops", [1, 2])
def test_few_views_are_the_whole_picture_and_crops(
    labelled: Callable[..., Any], crops: int, mirror: bool
) -> None:
    """Also where a worker, which has no file of whole pictures, computes them."""
    encoder = load_encoder("tiny")
    task = sided(labelled, encoder, matters=True)
    every = np.arange(len(task.data))
    pixels = encoder.normalise(task.data.inputs(every))
    seen = ImageFeatures(task.data, encoder)
    looks = list(views(pixels, 1 + crops, mirror))
    with torch.no_grad():
        total = torch.stack([encoder.image_features(look) for look in looks]).sum(0)
    # the crops are of those that four views have
    four = list(views(pixels, 4, mirror))
    assert torch.equal(looks[0], pixels) and torch.equal(looks[1], four[1])
    assert len(looks) == 1 + crops and torch.equal(looks[-1], four[2 * crops - 1])
    wanted = torch.nn.functional.normalize(total, dim=1).numpy()
    few = from_words(as_words(Few(crops, mirror)))
    np.testing.assert_allclose(seen.all(few), wanted, atol=1e-5)
    assert np.array_equal(seen.embed(every, few), seen.all(few))
