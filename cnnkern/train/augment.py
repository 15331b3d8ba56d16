"""Mild distortions of training images: what a hand does differently the next time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ROTATION = 0.17  # radians, about ten degrees
MAX_SCALING = 0.1
MAX_SHIFT = 0.0625  # of the image's size: two pixels of 32


def distort(images: Tensor) -> Tensor:
    """Rotates, scales and shifts each image (N, C, H, W) by its own random amount.

    The numbers are drawn on the CPU, so a seed means the same on every device. Pixels from outside
    repeat the rim, whose value is the background's also after normalisation.
    """

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(len(images), *shape) * 2 - 1) * limit

    angle, scale, shift = uniform(MAX_ROTATION), 1 + uniform(MAX_SCALING), uniform(2 * MAX_SHIFT, 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    matrices = rows.view(-1, 2, 3).to(images.device, images.dtype)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
