"""Parts of a picture are found with their window, mirrored or not; other pictures are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from labelsieve.features.copies import crops

RNG = np.random.default_rng(0)


def picture(seed: int) -> np.ndarray:
    """256 x 256 smooth random grays: detail at all sizes, as photos have it."""
    rng = np.random.default_rng(seed)
    values = sum(
        size * gaussian_filter(rng.normal(size=(256, 256)), size)
        for size in (4, 10, 25)
    )
    low, high = np.percentile(values, (1, 99))
    return (255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)


def thumb(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR)
    )


@pytest.mark.parametrize(("share", "least"), [(0.9, 10), (0.7, 9), (0.5, 6)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_crops_are_found_whichever_comes_first(
    share: float, least: int, mirrored: bool
) -> None:
    side = int(256 * share)
    found = 0
    for seed in range(10):
        whole = picture(seed)
        top, left = RNG.integers(0, 256 - side + 1, 2)
        part = whole[top : top + side, left : left + side]
        thumbs = np.stack(
            [
                thumb(part[:, ::-1] if mirrored else part),
                thumb(whole),
                thumb(picture(99)),
            ]
        )
        for each in crops.find(thumbs, np.array([(0, 1), (0, 2), (1, 2)])):
            assert (each.whole, each.part, each.mirrored) == (1, 0, mirrored)
            assert each.similarity >= crops.SAME
            found += 1
    # half a side is where the coarse raster begins to miss some
    assert found >= least


def test_sides_may_be_cut_independently() -> None:
    whole = picture(5)
    thumbs = np.stack([thumb(whole), thumb(whole[:, 40:200])])
    (part,) = crops.find(thumbs, np.array([(0, 1)]))
    assert (part.whole, part.part, part.mirrored) == (0, 1, False)


def test_different_pictures_are_no_parts() -> None:
    thumbs = np.stack([thumb(picture(seed)) for seed in range(20)])
    pairs = [(a, b) for a in range(20) for b in range(a)]
    assert list(crops.find(thumbs, np.array(pairs))) == []


def test_windows_are_means_of_their_pixels() -> None:
    thumbnail = thumb(picture(3))
    windows = crops._windows(thumbnail)
    assert windows.shape == (len(crops.STRETCHES) ** 2, 144)
    row = crops.STRETCHES.index((0.0, 64.0))
    # the whole picture is the one window whose fields hold no whole number of pixels
    means = (
        crops._means(0, 64, 12) @ thumbnail.astype(float) @ crops._means(0, 64, 12).T
    )
    wanted = means.reshape(-1) - means.mean()
    wanted /= np.linalg.norm(wanted)
    assert np.allclose(windows[row * len(crops.STRETCHES) + row], wanted, atol=1e-4)
    half = crops._means(0, 32, 16)
    assert np.allclose(half @ np.arange(64), np.arange(16) * 2 + 0.5)
