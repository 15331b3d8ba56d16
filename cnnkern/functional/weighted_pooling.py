"""Weighted average pooling, 1-d to 3-d, on the depthwise convolution kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern.functional import convolution
from cnnkern.functional._arguments import (
    IntOrInts,
    check_input,
    check_tensor,
    expand,
    strides,
)


def _end_padding(size: Any, begin: int, footprint: int, stride: int) -> Any:
    """The padding behind the input for ceil_mode: the last window starts no later than inside."""
    rounded_up = -(-(size + 2 * begin - footprint) // stride) + 1
    windows = torch.sym_min(rounded_up, (size + begin - 1) // stride + 1)
    return torch.sym_max(begin, (windows - 1) * stride + footprint - size - begin)


def _weighted_avg_pool(
    dims: int, input: Tensor, weight: Tensor, stride: IntOrInts | None, padding: IntOrInts,
    dilation: IntOrInts, ceil_mode: bool,
) -> Tensor:  # fmt: skip
    op = f"weighted_avg_pool{dims}d"
    check_input(op, input)
    check_tensor(op, "weight", 2, weight)
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{op}: expected input of {dims + 1} or {dims + 2} dimensions, but got size "
            f"{list(input.shape)}"
        )
    channels, window = input.shape[-dims - 1], weight.shape[-dims:]
    if weight.dim() not in (dims, dims + 1) or weight.shape[:-dims] not in ((), (channels,)):
        raise RuntimeError(
            f"{op}: expected weight of {dims} dimensions, or one more for each of the input's "
            f"{channels} channels, but got size {list(weight.shape)}"
        )
    steps = strides(op, stride, tuple(window), dims)
    begin, gaps = expand(op, "padding", padding, dims), expand(op, "dilation", dilation, dims)
    end = begin
    if ceil_mode:
        footprints = [(taps - 1) * gap + 1 for taps, gap in zip(window, gaps)]
        end = tuple(map(_end_padding, input.shape[-dims:], begin, footprints, steps))
    normalized = weight / weight.sum(dim=tuple(range(-dims, 0)), keepdim=True)
    filters = normalized.expand(channels, *window).unsqueeze(1)
    conv = getattr(convolution, f"conv{dims}d")
    output: Tensor = conv(
        input, filters, None, steps, tuple(zip(begin, end)), gaps, groups=channels
    )
    return output


def weighted_avg_pool1d(
    input: Tensor, weight: Tensor, stride: IntOrInts | None = None, padding: IntOrInts = 0,
    dilation: IntOrInts = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """Weighted means along w: input (N, C, W) or (C, W), weight (S,) or (C, S).

    See :func:`weighted_avg_pool2d`.

    >>> weighted_avg_pool1d(torch.tensor([[[1.0, 5.0, 2.0, 6.0]]]), torch.tensor([1.0, 3.0]))
    tensor([[[4., 5.]]])
    """
    return _weighted_avg_pool(1, input, weight, stride, padding, dilation, ceil_mode)


def weighted_avg_pool2d(
    input: Tensor, weight: Tensor, stride: IntOrInts | None = None, padding: IntOrInts = 0,
    dilation: IntOrInts = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """Average pooling whose taps have weights: y = Σ_rs weight[r, s]·x[r, s] / Σ_rs weight[r, s].

    With equal weights this is :func:`avg_pool2d` that counts padding (whose values are 0).

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        weight: (R, S) for all channels, or (C, R, S), of the input's dtype; differentiable. Each
            window's weights must not sum to 0.
        stride: the window's size by default.

    Returns:
        (N, C, P, Q), sized as :func:`avg_pool2d` sizes it.

    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> weighted_avg_pool2d(x, torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([[[[3.2500]]]])
    """
    return _weighted_avg_pool(2, input, weight, stride, padding, dilation, ceil_mode)


def weighted_avg_pool3d(
    input: Tensor, weight: Tensor, stride: IntOrInts | None = None, padding: IntOrInts = 0,
    dilation: IntOrInts = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """Weighted means: input (N, C, D, H, W) or (C, D, H, W), weight (T, R, S) or (C, T, R, S).

    See :func:`weighted_avg_pool2d`.
    """
    return _weighted_avg_pool(3, input, weight, stride, padding, dilation, ceil_mode)
