"""Fixtures of what reads data: images of 8 x 8 pixels and a pixel cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labelsieve.data.images import CLIP_MEAN, CLIP_STD, Preprocess
from labelsieve.data.modalities.images import ImageItems
from labelsieve.data.pixel_cache import PixelCache


@pytest.fixture
def items(tmp_path: Path) -> Iterator[ImageItems]:
    """Images prepared to 8 x 8 pixels, in a cache that only this test has."""
    cache = PixelCache(tmp_path / "pixel-cache", 8, 8)
    yield ImageItems(Preprocess(8, 8, 8, 3, CLIP_MEAN, CLIP_STD), cache)
    cache.close()
