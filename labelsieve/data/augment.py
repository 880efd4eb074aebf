"""Augmentation of whole batches where they lie, from one seeded generator."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Right, down, mirrored: each half of the views is mirrored, and each side seen both ways.
CORNERS: tuple[tuple[int, int, bool], ...] = (
    (-1, -1, False),
    (1, -1, True),
    (-1, 1, True),
    (1, 1, False),
)
# Share of each side that a corner view keeps: 224 of 256, as in Krizhevsky et al., is 0.875.
SIDE = 0.85
SHAPE = 0.2877  # ln(4/3): how far the shape of a random crop varies


def crop_and_mirror(
    pixels: Tensor,
    generator: torch.Generator,
    smallest: float = 0.7,
    mirror: bool = True,
) -> Tensor:
    """A random crop of each picture, resized back, mirrored half of the time.

    Args:
        pixels: [b, 3, h, w] float, any device.
        smallest: least share of the area that a crop keeps; its shape varies by up to 3:4.

    Returns:
        [b, 3, h, w], bilinear.
    """
    b = len(pixels)
    chance = torch.rand(b, 5, generator=generator)
    area = smallest + (1 - smallest) * chance[:, 0]
    shape = torch.exp((2 * chance[:, 1] - 1) * SHAPE)
    width = (area * shape).sqrt().clamp(max=1)
    height = (area / shape).sqrt().clamp(max=1)
    flip = torch.ones(b)
    if mirror:
        flip = torch.where(chance[:, 4] < 0.5, -1.0, 1.0)
    # affine maps from the output to the input, both from -1 to 1: a mirror is a negative width
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = width * flip
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (1 - width) * (2 * chance[:, 2] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * chance[:, 3] - 1)
    return _resample(pixels, theta)


def views(pixels: Tensor, count: int, mirror: bool = True) -> Iterator[Tensor]:
    """What of each picture is judged, the same of all; answers to several views are averaged.

    A tower that learned on crops answers crops best (Krizhevsky et al., NeurIPS 2012, section
    4.1, "at test time").

    Args:
        pixels: [b, 3, h, w] float, any device.
        count: 1, the pictures as they are; 2 or 3, these and crops into one or two corners, the
            first of them mirrored; or 4, crops into all corners, two of them mirrored.

    Yields:
        [b, 3, h, w], bilinear.
    """
    corners = CORNERS
    if count < len(CORNERS):
        yield pixels
        # the other way round first: it differs most from the whole
        corners = CORNERS[1::2][: count - 1]
    for right, down, turned in corners:
        flip = -1.0 if turned and mirror else 1.0
        theta = torch.tensor(
            [[SIDE * flip, 0.0, (1 - SIDE) * right], [0.0, SIDE, (1 - SIDE) * down]]
        )
        yield _resample(pixels, theta.expand(len(pixels), -1, -1))


def region(pixels: Tensor, left: float, top: float, side: float) -> Tensor:
    """A part of each picture [b, 3, h, w], resized to the whole, bilinear.

    Args:
        left, top, side: where it begins and how long its sides are, shares of the picture's.
    """
    # from shares, 0 to 1, to the coordinates of `affine_grid`, -1 to 1
    across, down = 2 * left + side - 1, 2 * top + side - 1
    theta = torch.tensor([[side, 0.0, across], [0.0, side, down]])
    return _resample(pixels, theta.expand(len(pixels), -1, -1))


def _resample(pixels: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(
        theta.to(pixels.device), list(pixels.shape), align_corners=False
    )
    # reflected, so that no black border gives a crop at the edge away
    return F.grid_sample(
        pixels.float(), grid, padding_mode="reflection", align_corners=False
    ).to(pixels.dtype)
