"""Augmentation: one generator decides all, and what comes out is a crop of what went in."""

from __future__ import annotations

import pytest
import torch

from labelsieve.data.augment import SIDE as KEPT
from labelsieve.data.augment import crop_and_mirror, views

COUNT, SIDE = 400, 32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def ramps() -> torch.Tensor:
    """[n, 3, h, w] float: channel 0 is the column in pixels, channel 1 the row, channel 2 one."""
    column = torch.arange(SIDE, dtype=torch.float32).expand(SIDE, SIDE)
    return (
        torch.stack([column, column.T, torch.ones(SIDE, SIDE)])
        .expand(COUNT, -1, -1, -1)
        .contiguous()
    )


def shape_of(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of the width and of the height that each crop keeps, signed by its direction, read
    off the ramps."""
    middle = slice(
        SIDE // 2 - 2, SIDE // 2 + 3
    )  # far from the border, where there is nothing to reflect
    return seen[:, 0, SIDE // 2, middle].diff(dim=-1).mean(-1), seen[
        :, 1, middle, SIDE // 2
    ].diff(dim=-1).mean(-1)


def test_the_generator_decides_everything() -> None:
    pixels = torch.randn(6, 3, 9, 12, generator=generator(5))
    state = torch.random.get_rng_state()
    first = crop_and_mirror(pixels, generator(1))
    assert torch.equal(first, crop_and_mirror(pixels, generator(1)))
    assert not torch.equal(first, crop_and_mirror(pixels, generator(2)))
    assert torch.equal(state, torch.random.get_rng_state()), (
        "the global generator was used"
    )
    assert first.shape == pixels.shape and first.dtype == pixels.dtype


def test_the_pictures_are_not_changed_in_place(ramps: torch.Tensor) -> None:
    before = ramps.clone()
    crop_and_mirror(ramps, generator())
    assert torch.equal(ramps, before)


def test_values_stay_in_range() -> None:
    pixels = torch.rand(50, 3, 17, 23, generator=generator(4))
    seen = crop_and_mirror(pixels, generator())
    low, high = pixels.amin((1, 2, 3)), pixels.amax((1, 2, 3))
    assert (seen.amin((1, 2, 3)) >= low - 1e-6).all() and (
        seen.amax((1, 2, 3)) <= high + 1e-6
    ).all()


def test_lower_precision_comes_back_as_it_was() -> None:
    pixels = torch.randn(4, 3, 8, 8, generator=generator(1)).bfloat16()
    seen = crop_and_mirror(pixels, generator())
    assert seen.dtype == torch.bfloat16
    assert torch.equal(seen, crop_and_mirror(pixels.float(), generator()).bfloat16())


@pytest.mark.parametrize("smallest", [0.7, 0.9])
def test_crops_keep_enough_and_lie_inside(ramps: torch.Tensor, smallest: float) -> None:
    """A crop's area is at least the share asked for, its shape at most 3:4, and it moves about."""
    seen = crop_and_mirror(ramps, generator(), smallest=smallest, mirror=False)
    width, height = shape_of(seen)
    assert (
        (width > 0) & (width <= 1 + 1e-4) & (height > 0) & (height <= 1 + 1e-4)
    ).all()
    least = min(
        smallest, 0.75
    )  # where a side is cut at the whole picture, the other one stays three quarters of it
    assert (width * height >= least - 1e-3).all()
    assert (width / height).max() <= 4 / 3 + 1e-3 and (
        width / height
    ).min() >= 3 / 4 - 1e-3
    assert (width * height).std() > 0.02
    center = (SIDE - 1) / 2
    for channel, share in ((0, width), (1, height)):
        middle = (
            seen[
                :, channel, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1
            ].mean((-1, -2))
            - center
        )
        assert (middle.abs() <= (1 - share) * SIDE / 2 + 1e-3).all(), (
            "the crop reaches outside"
        )
        assert middle.std() > 0.2, "the crop always lies in the middle"


def test_mirror_turns_half_of_them_and_only_sideways(ramps: torch.Tensor) -> None:
    width, height = shape_of(crop_and_mirror(ramps, generator()))
    turned = (width < 0).float().mean()
    assert abs(turned - 0.5) < 5 * 0.5 / COUNT**0.5
    assert (height > 0).all()
    straight, _ = shape_of(crop_and_mirror(ramps, generator(), mirror=False))
    assert (straight > 0).all()
    assert torch.allclose(width.abs(), straight, atol=1e-4), (
        "mirroring changes the crops"
    )


def test_pictures_of_a_batch_are_cropped_each_on_its_own(ramps: torch.Tensor) -> None:
    seen = crop_and_mirror(ramps[:50], generator())
    assert len(torch.unique(seen[:, 1, 10, 10])) > 40


def test_four_views_reach_into_the_corners_and_two_are_mirrored(
    ramps: torch.Tensor,
) -> None:
    found = [shape_of(view[:1]) for view in views(ramps[:1], 4)]
    widths, heights = (torch.cat(x).tolist() for x in zip(*found, strict=True))
    assert widths == pytest.approx([KEPT, -KEPT, -KEPT, KEPT], abs=1e-4)
    assert heights == pytest.approx([KEPT] * 4, abs=1e-4)
    middles = [
        view[0, :2, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1].mean(
            (1, 2)
        )
        for view in views(ramps[:1], 4)
    ]
    away = (1 - KEPT) * SIDE / 2
    expected = [(-away, -away), (away, -away), (-away, away), (away, away)]
    for (x, y), wanted in zip(middles, expected, strict=True):
        assert (float(x) - (SIDE - 1) / 2, float(y) - (SIDE - 1) / 2) == pytest.approx(
            wanted, abs=1e-3
        )
    straight = [
        shape_of(view[:1])[0].item() for view in views(ramps[:1], 4, mirror=False)
    ]
    assert straight == pytest.approx([KEPT] * 4, abs=1e-4)
    (alone,) = views(ramps, 1)
    assert alone is ramps
