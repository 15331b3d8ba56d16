"""Weighted average pooling: average pooling whose taps have weights, learned or given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import functional
from cnnkern.functional._arguments import IntOrInts, expand


class _WeightedAvgPool(torch.nn.Module):
    dims: int

    def __init__(
        self, kernel_size: IntOrInts, stride: IntOrInts | None = None, padding: IntOrInts = 0,
        dilation: IntOrInts = 1, ceil_mode: bool = False, *, channels: int | None = None,
        weight: Tensor | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        window = expand(name, "kernel_size", kernel_size, self.dims)
        shape = window if channels is None else (channels, *window)
        if weight is None:
            self.weight = torch.nn.Parameter(torch.ones(shape, device=device, dtype=dtype))
        elif tuple(weight.shape) == shape:
            self.register_buffer("weight", weight.detach().to(device=device, dtype=dtype))
        else:
            raise ValueError(f"{name}: expected weight of size {shape}, got {tuple(weight.shape)}")
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        pool = getattr(functional, f"weighted_avg_pool{self.dims}d")
        output: Tensor = pool(
            input, self.weight, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        return output

    def extra_repr(self) -> str:
        channels = "" if self.weight.dim() == self.dims else f", channels={len(self.weight)}"
        learned = "" if isinstance(self.weight, torch.nn.Parameter) else ", weight given"
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}{channels}{learned}"
        )


class WeightedAvgPool1d(_WeightedAvgPool):
    """Weighted means along w: (N, C, W) to (N, C, Q); see :class:`WeightedAvgPool2d`."""

    dims = 1


class WeightedAvgPool2d(_WeightedAvgPool):
    """Average pooling with a weight for each tap: (N, C, H, W) to (N, C, P, Q).

    See :func:`cnnkern.functional.weighted_avg_pool2d` for the formula.

    Args:
        kernel_size, stride, padding, dilation, ceil_mode: as those of a pooling.
        channels: gives each of so many channels weights of its own; else all share one window's.
        weight: (R, S), or (C, R, S) with ``channels``: fixed weights, kept as a buffer. Without it
            the weights are a parameter to be learned, all ones at first: average pooling.

    >>> layer = WeightedAvgPool2d(2, weight=torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    >>> layer(torch.arange(16.0).reshape(1, 4, 4)).flatten()
    tensor([ 5.,  7., 13., 15.])
    """

    dims = 2


class WeightedAvgPool3d(_WeightedAvgPool):
    """Weighted means: (N, C, D, H, W) to (N, C, Z, P, Q); see :class:`WeightedAvgPool2d`."""

    dims = 3
