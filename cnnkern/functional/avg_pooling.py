"""Average pooling, 1-d to 3-d, strided and adaptive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    IntOrInts,
    SizeOrSizes,
    check_floating,
    expand,
    float32_under_autocast,
    output_sizes,
    strides,
)


def _batched(op: str, input: Tensor, dims: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had one; in autocast's dtype."""
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{op}: non-empty {dims + 1}D or {dims + 2}D (batch mode) tensor expected for input, "
            f"but got input of size: {list(input.shape)}"
        )
    if dims == 3:
        input = float32_under_autocast(input)
    has_batch = input.dim() == dims + 2
    return (input if has_batch else input.unsqueeze(0)), has_batch


def _avg_pool(
    op: str, dims: int, input: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None,
    padding: IntOrInts, ceil_mode: bool, count_include_pad: bool, divisor_override: int | None,
    dilation: IntOrInts,
) -> Tensor:  # fmt: skip
    check_floating(op, input, torch.int64)
    input, has_batch = _batched(op, input, dims)
    window = expand(op, "kernel_size", kernel_size, dims)
    output = _ops.avg_pool_forward(
        operators_for(input),
        input,
        window,
        strides(op, stride, window, dims),
        expand(op, "padding", padding, dims),
        expand(op, "dilation", dilation, dims),
        bool(ceil_mode),
        bool(count_include_pad),
        divisor_override,
    )
    return output if has_batch else output.squeeze(0)


def avg_pool1d(
    input: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, ceil_mode: bool = False, count_include_pad: bool = True, *,
    dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.avg_pool1d` on cnnkern's kernels, and with ``dilation``.

    input (N, C, W) or (C, W); returns (N, C, Q).

    >>> avg_pool1d(torch.tensor([[[1.0, 3.0, 2.0, 4.0]]]), 2)
    tensor([[[2., 3.]]])
    """
    return _avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None,
        dilation,
    )  # fmt: skip


def avg_pool2d(
    input: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.avg_pool2d` on cnnkern's kernels, and with ``dilation``.

    Each output is the sum of its window's taps inside the input, divided by ``divisor_override``,
    or by the number of those taps; with ``count_include_pad`` taps on the padding count too.

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        dilation: the distance of a window's taps, an extension; torch has none.

    Returns:
        (N, C, P, Q) with P = ⌊(H + 2·padding − dilation·(kernel_size − 1) − 1) / stride⌋ + 1, with
        ``ceil_mode`` rounded up; in channels_last if the input is.

    >>> avg_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4), 2).flatten()
    tensor([ 2.5000,  4.5000, 10.5000, 12.5000])
    >>> avg_pool2d(torch.arange(9.0).reshape(1, 1, 3, 3), 2, dilation=2)
    tensor([[[[4.]]]])
    """
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override, dilation,
    )  # fmt: skip


def avg_pool3d(
    input: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, ceil_mode: bool = False, count_include_pad: bool = True,
    divisor_override: int | None = None, *, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.avg_pool3d` on cnnkern's kernels, and with ``dilation``.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, Z, P, Q); see :func:`avg_pool2d`.
    """
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override, dilation,
    )  # fmt: skip


def _output_size(op: str, output_size: Any, input: Tensor, dims: int) -> tuple[int, ...]:
    """One size per spatial dimension; None stands for the input's."""
    if output_size is None or isinstance(output_size, int | torch.SymInt):
        values = [output_size] * dims
    else:
        values = list(output_size)
        if input.dim() <= len(values):
            raise ValueError(
                f"{op}: Input dimension should be at least {len(values) + 1}, but got input of "
                f"size: {list(input.shape)}"
            )
        if len(values) != dims:
            wanted = "'output_size' should contain one int" if dims == 1 else (
                f"output_size must be {dims} values or one int"
            )  # fmt: skip
            raise RuntimeError(f"{op}: {wanted}, but got {values}")
    return output_sizes(op, values, input, dims)


def _adaptive(op: str, dims: int, input: Tensor, output_size: SizeOrSizes) -> Tensor:
    check_floating(op, input)
    size = _output_size(op, output_size, input, dims)
    input, has_batch = _batched(op, input, dims)
    output = _ops.adaptive_avg_pool_forward(operators_for(input), input, size)
    return output if has_batch else output.squeeze(0)


def adaptive_avg_pool1d(input: Tensor, output_size: SizeOrSizes) -> Tensor:
    """:func:`torch.nn.functional.adaptive_avg_pool1d` on cnnkern's kernels.

    input (N, C, W) or (C, W); returns (N, C, Q) with Q = output_size.

    >>> adaptive_avg_pool1d(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]), 2)
    tensor([[2., 4.]])
    """
    return _adaptive("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: SizeOrSizes) -> Tensor:
    """:func:`torch.nn.functional.adaptive_avg_pool2d` on cnnkern's kernels.

    Output p along an axis of H elements is the mean of elements ⌊p·H/P⌋, …, ⌈(p + 1)·H/P⌉ − 1.

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        output_size: P and Q, or one number for both; None keeps the input's size.

    >>> adaptive_avg_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4), (1, None))
    tensor([[[[6., 7., 8., 9.]]]])
    """
    return _adaptive("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: SizeOrSizes) -> Tensor:
    """:func:`torch.nn.functional.adaptive_avg_pool3d` on cnnkern's kernels.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, *output_size); see
    :func:`adaptive_avg_pool2d`.
    """
    return _adaptive("adaptive_avg_pool3d", 3, input, output_size)
