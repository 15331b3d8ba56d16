"""Sizes and checks of average pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern._shapes import Ints, require


def _check_not_empty(op: str, x: Tensor) -> None:
    require(
        all(value != 0 for value in x.shape[1:]),
        f"{op}: expected a tensor with optional 0 dim batch size for input, with non-zero size for "
        f"non-batch dimensions, but got:{list(x.shape)}",
    )


def pool_output(
    x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> list[int]:  # fmt: skip
    """Z, P, Q of a pooling (those that it has), as torch.nn.AvgPool2d documents them."""
    require(divisor_override != 0, "avg_pool: divisor must be not zero")
    for k, s, p, d in zip(kernel, stride, padding, dilation):
        require(k > 0, f"avg_pool: kernel size should be greater than zero, but got {k}")
        require(s > 0, f"avg_pool: stride should be greater than zero, but got {s}")
        require(d > 0, f"avg_pool: dilation should be greater than zero, but got {d}")
        require(p >= 0, f"avg_pool: pad must be non-negative, but got pad: {p}")
        require(
            p <= ((k - 1) * d + 1) // 2,
            "avg_pool: pad should be at most half of effective kernel size, but got "
            f"pad={p}, kernel_size={k} and dilation={d}",
        )
    _check_not_empty("avg_pool", x)
    output = []
    for i, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation):
        footprint = (k - 1) * d + 1
        size: Any = (i + 2 * p - footprint + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode:
            size = torch.sym_min(size, (i + p - 1) // s + 1)
        require(
            size >= 1,
            f"avg_pool: Output size is too small: input has {i} elements along an axis, the window "
            f"covers {footprint}; pad it or use a smaller window",
        )
        output.append(size)
    return output


def adaptive_output(x: Tensor, output_size: Ints) -> Ints:
    """The sizes that are asked for, checked."""
    for value in output_size:
        require(
            value >= 0,
            "adaptive_avg_pool: elements of output_size must be greater than or equal to 0, but "
            f"got {value}",
        )
    _check_not_empty("adaptive_avg_pool", x)
    return output_size
