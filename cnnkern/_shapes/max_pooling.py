"""Sizes and checks of max pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern._shapes import Ints, require


def pool_output(
    x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> list[int]:
    """Z, P, Q of a pooling (those that it has), as torch.nn.MaxPool2d documents them."""
    dims = len(kernel)
    line = dims == 1  # torch has other words for it
    size_must = "kernel_size must" if line else "kernel size should"
    stride_must = (
        "stride must be greater than zero" if line else "stride should not be zero or negative"
    )
    dilation_must = "dilation must" if line else "dilation should"
    for k, s, p, d in zip(kernel, stride, padding, dilation):
        require(k > 0, f"max_pool: {size_must} be greater than zero, but got {k}")
        require(s > 0, f"max_pool: {stride_must}, but got {s}")
        require(d > 0, f"max_pool: {dilation_must} be greater than zero, but got {d}")
        require(p >= 0, f"max_pool: pad must be non-negative, but got pad: {p}")
        require(
            p <= ((k - 1) * d + 1) // 2,
            "max_pool: pad should be at most half of effective kernel size, but got "
            f"pad={p}, kernel_size={k} and dilation={d}",
        )
    expected = (
        "Expected input's non-batch dimensions to have positive length"
        if dims == 3
        else f"Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim batch "
        "size for input"
    )
    require(
        all(value != 0 for value in x.shape[1:]),
        f"max_pool: {expected}, but got:{list(x.shape)}; channels and sizes must not be 0",
    )
    output = []
    for i, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        footprint = (k - 1) * d + 1
        size: Any = (i + 2 * p - footprint + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode:
            size = torch.sym_min(size, (i + p - 1) // s + 1)
        problem = f"Invalid computed output size: {size}" if line else "Output size is too small"
        require(
            size >= 1,
            f"max_pool: {problem}: input has {i} elements along an axis, the window covers "
            f"{footprint}; pad it or use a smaller window",
        )
        output.append(size)
    return output
