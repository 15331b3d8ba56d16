"""Layers that pool whole planes, and spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnkern import functional


class GlobalAvgPool1d(torch.nn.Module):
    """:func:`cnnkern.functional.global_avg_pool1d`: (N, C, W) to (N, C, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_avg_pool1d(input)


class GlobalAvgPool2d(torch.nn.Module):
    """:func:`cnnkern.functional.global_avg_pool2d`: (N, C, H, W) to (N, C, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_avg_pool2d(input)


class GlobalAvgPool3d(torch.nn.Module):
    """:func:`cnnkern.functional.global_avg_pool3d`: (N, C, D, H, W) to (N, C, 1, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_avg_pool3d(input)


class GlobalMaxPool1d(torch.nn.Module):
    """:func:`cnnkern.functional.global_max_pool1d`: (N, C, W) to (N, C, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_max_pool1d(input)


class GlobalMaxPool2d(torch.nn.Module):
    """:func:`cnnkern.functional.global_max_pool2d`: (N, C, H, W) to (N, C, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_max_pool2d(input)


class GlobalMaxPool3d(torch.nn.Module):
    """:func:`cnnkern.functional.global_max_pool3d`: (N, C, D, H, W) to (N, C, 1, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_max_pool3d(input)


class _GlobalLPPool(torch.nn.Module):
    def __init__(self, norm_type: float) -> None:
        super().__init__()
        if norm_type == 0:
            raise ValueError(f"norm_type must be a non-zero value, but got {norm_type}")
        self.norm_type = norm_type

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}"


class GlobalLPPool1d(_GlobalLPPool):
    """:func:`cnnkern.functional.global_lp_pool1d`: (N, C, W) to (N, C, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_lp_pool1d(input, self.norm_type)


class GlobalLPPool2d(_GlobalLPPool):
    """:func:`cnnkern.functional.global_lp_pool2d`: (N, C, H, W) to (N, C, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_lp_pool2d(input, self.norm_type)


class GlobalLPPool3d(_GlobalLPPool):
    """:func:`cnnkern.functional.global_lp_pool3d`: (N, C, D, H, W) to (N, C, 1, 1, 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.global_lp_pool3d(input, self.norm_type)


class SpatialPyramidPool(torch.nn.Module):
    """:func:`cnnkern.functional.spatial_pyramid_pool`: (N, C, *any size) to (N, C·Σ levelᵈ).

    >>> SpatialPyramidPool((1, 2))(torch.ones(2, 3, 11, 6)).shape
    torch.Size([2, 15])
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4), mode: str = "avg") -> None:
        super().__init__()
        self.levels, self.mode = tuple(levels), mode

    def forward(self, input: Tensor) -> Tensor:
        return functional.spatial_pyramid_pool(input, self.levels, self.mode)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, mode={self.mode!r}"
