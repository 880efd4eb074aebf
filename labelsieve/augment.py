"""Augmentation of whole batches where they lie, from one seeded generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_and_mirror(pixels: Tensor, generator: torch.Generator, smallest: float = 0.7, mirror: bool = True) -> Tensor:
    """A random crop of each picture, resized back, mirrored half of the time.

    Args:
        pixels: [b, 3, h, w] float, any device.
        smallest: least share of the area that a crop keeps; its shape varies by up to 3:4.

    Returns:
        [b, 3, h, w], bilinear.
    """
    b = len(pixels)
    chance = torch.rand(b, 5, generator=generator)
    area, shape = smallest + (1 - smallest) * chance[:, 0], torch.exp((2 * chance[:, 1] - 1) * 0.2877)  # ln(4/3)
    width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
    flip = torch.where(chance[:, 4] < 0.5, -1.0, 1.0) if mirror else torch.ones(b)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width * flip, height
    theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * (2 * chance[:, 2] - 1), (1 - height) * (2 * chance[:, 3] - 1)
    grid = F.affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode="reflection", align_corners=False).to(pixels.dtype)
