"""Adaptive max pooling, 1-d to 3-d."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    SizeOrSizes,
    check_floating,
    float32_under_autocast,
    output_sizes,
)


def check_rank(op: str, input: Tensor, dims: int) -> None:
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{op}: Expected {dims + 1}D or {dims + 2}D tensor, but got: {list(input.shape)}"
        )


def _output_size(op: str, output_size: Any, input: Tensor, dims: int) -> tuple[int, ...]:
    """One size per spatial dimension; None stands for the input's."""
    if output_size is None or isinstance(output_size, int | torch.SymInt):
        values = [output_size] * dims
    else:
        values = list(output_size)
        if dims > 1 and input.dim() <= len(values):
            raise ValueError(
                f"{op}: Input dimension should be at least {len(values) + 1}, but got input of "
                f"size: {list(input.shape)}"
            )
        if len(values) != dims:
            wanted = "argument 'output_size' should contain one int" if dims == 1 else (
                f"internal error: output_size.size() must be {dims}"
            )  # fmt: skip
            raise RuntimeError(f"{op}(): {wanted}, but got {values}")
    check_rank(op, input, dims)
    return output_sizes(op, values, input, dims)


def _adaptive(
    op: str, dims: int, input: Tensor, output_size: SizeOrSizes, return_indices: bool
) -> Any:
    check_floating(op, input)
    size = _output_size(op, output_size, input, dims)
    if dims == 3:
        input = float32_under_autocast(input)
    has_batch = input.dim() == dims + 2
    batch = input if has_batch else input.unsqueeze(0)
    found = _ops.window_max_pool_forward(operators_for(input), batch, None, (), size)
    output, indices = found if has_batch else (value.squeeze(0) for value in found)
    return (output, indices) if return_indices else output


def adaptive_max_pool1d(
    input: Tensor, output_size: SizeOrSizes, return_indices: bool = False
) -> Any:
    """:func:`torch.nn.functional.adaptive_max_pool1d` on cnnkern's kernels.

    input (N, C, W) or (C, W); returns (N, C, Q) with Q = output_size; see
    :func:`adaptive_max_pool2d`.

    >>> adaptive_max_pool1d(torch.tensor([[1.0, 5.0, 2.0, 4.0, 3.0]]), 2)
    tensor([[5., 4.]])
    """
    return _adaptive("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(
    input: Tensor, output_size: SizeOrSizes, return_indices: bool = False
) -> Any:
    """:func:`torch.nn.functional.adaptive_max_pool2d` on cnnkern's kernels.

    Output p along an axis of H elements is the maximum of elements ⌊p·H/P⌋, …, ⌈(p + 1)·H/P⌉ − 1.

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        output_size: P and Q, or one number for both; None keeps the input's size.
        return_indices: also returns the int64 positions of the maxima in their plane.

    Returns:
        (N, C, P, Q), in channels_last if the input is. NaN wins; of equal values the first does.

    >>> adaptive_max_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4), (1, None))
    tensor([[[[12., 13., 14., 15.]]]])
    """
    return _adaptive("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(
    input: Tensor, output_size: SizeOrSizes, return_indices: bool = False
) -> Any:
    """:func:`torch.nn.functional.adaptive_max_pool3d` on cnnkern's kernels.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, *output_size); see
    :func:`adaptive_max_pool2d`.
    """
    return _adaptive("adaptive_max_pool3d", 3, input, output_size, return_indices)
