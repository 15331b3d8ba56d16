"""Max pooling, 1-d to 3-d."""

from __future__ import annotations

from typing import Any

import torch

from cnnkern import _ops
from cnnkern._library import needs_function
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import IntOrInts, batched, check_input, expand, strides


def _max_pool(
    op: str, dims: int, input: torch.Tensor, kernel_size: IntOrInts, stride: IntOrInts | None,
    padding: IntOrInts, dilation: IntOrInts, ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    check_input(op, input)
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{op}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim "
            f"batch size for input, but got:{list(input.shape)}"
        )
    input, has_batch = batched(op, input, dims)
    window = expand(op, "kernel_size", kernel_size, dims)
    arguments = (
        operators_for(input),
        input,
        window,
        strides(op, stride, window, dims),
        expand(op, "padding", padding, dims),
        expand(op, "dilation", dilation, dims),
        bool(ceil_mode),
    )
    if return_indices:
        output, indices = _ops.max_pool_forward(*arguments)
        return (output, indices) if has_batch else (output.squeeze(0), indices.squeeze(0))
    if torch._C._get_tracing_state() is not None:
        output, _ = _ops.max_pool_forward(*arguments)
    elif needs_function((input,)):
        # An exported program keeps to what other runtimes know: indices.
        exporting = torch.compiler.is_exporting()
        output, _ = (_ops.max_pool_forward if exporting else _ops.max_pool_saving)(*arguments)
    else:
        output = _ops.max_pool_values(*arguments)
    return output if has_batch else output.squeeze(0)


def max_pool1d(
    input: torch.Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, dilation: IntOrInts = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """:func:`torch.nn.functional.max_pool1d` on cnnkern's kernels.

    input (N, C, W) or (C, W); returns (N, C, Q), with ``return_indices`` also the int64 positions.

    >>> max_pool1d(torch.tensor([[[1.0, 3.0, 2.0, 4.0]]]), 2)
    tensor([[[3., 4.]]])
    """
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input: torch.Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, dilation: IntOrInts = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """:func:`torch.nn.functional.max_pool2d` on cnnkern's kernels.

    input (N, C, H, W) or (C, H, W); returns (N, C, P, Q), in channels_last if the input is; with
    ``return_indices`` also the int64 positions of the maxima in their plane. NaN wins.

    >>> max_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4), 2).flatten()
    tensor([ 5.,  7., 13., 15.])
    """
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool3d(
    input: torch.Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, dilation: IntOrInts = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """:func:`torch.nn.functional.max_pool3d` on cnnkern's kernels.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, Z, P, Q).
    """
    return _max_pool(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )
