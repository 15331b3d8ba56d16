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
    require(
        all(value != 0 for value in x.shape[1:]),
        "max_pool: expected a tensor with optional 0 dim batch size for input, but got:"
        f"{list(x.shape)}; channels and sizes must not be 0",
    )
    output = []
    for i, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        require(k > 0, f"max_pool: kernel size should be greater than zero, but got {k}")
        require(s > 0, f"max_pool: stride should not be zero or negative, but got {s}")
        require(d > 0, f"max_pool: dilation should be greater than zero, but got {d}")
        require(p >= 0, f"max_pool: pad must be non-negative, but got pad: {p}")
        footprint = (k - 1) * d + 1
        require(
            p <= footprint // 2,
            "max_pool: pad should be at most half of effective kernel size, but got "
            f"pad={p}, kernel_size={k} and dilation={d}",
        )
        size: Any = (i + 2 * p - footprint + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode:
            size = torch.sym_min(size, (i + p - 1) // s + 1)
        require(
            size >= 1,
            f"max_pool: Output size is too small: input has {i} elements along an axis, the window "
            f"covers {footprint}; pad it or use a smaller window",
        )
        output.append(size)
    return output
