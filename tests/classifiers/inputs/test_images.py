"""Pictures as models are given them."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from labelsieve.classifiers.inputs.images import Pictures
from labelsieve.data.images import Preprocess

KIND = Pictures(Preprocess(8, 8, None, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))


def test_pixels_are_normalised() -> None:
    given = KIND.noise()
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    )
    assert_close(KIND.ready(given, torch.device("cpu")), (given / 255 - mean) / std)


def test_views_are_drawn_or_left() -> None:
    ready = KIND.ready(KIND.noise(), torch.device("cpu"))
    assert KIND.varied(ready, chance(), 1.0, False) is ready
    for crop, mirror in ((1.0, True), (0.5, False)):
        first = KIND.varied(ready, chance(), crop, mirror)
        assert first.shape == ready.shape and not torch.equal(first, ready)
        assert torch.equal(first, KIND.varied(ready, chance(), crop, mirror))


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)
