"""Max unpooling, 1-d to 3-d."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    IntOrInts,
    check_floating,
    check_tensor,
    expand,
    float32_under_autocast,
)


def _output_size(
    op: str, input: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    output_size: Sequence[int] | None,
) -> tuple[int, ...]:  # fmt: skip
    """The sizes that a pooling may have had: the smallest, unless one is named."""
    dims = len(kernel)
    default = [
        (size - 1) * step + taps - 2 * pad
        for size, taps, step, pad in zip(input.shape[-dims:], kernel, stride, padding)
    ]
    if output_size is None:
        sizes = tuple(default)
    else:
        sizes = tuple(output_size)
        if len(sizes) == dims + 2:
            sizes = sizes[2:]
        if len(sizes) != dims:
            raise ValueError(
                f"{op}: output_size should be a sequence containing {dims} or {dims + 2} elements, "
                f"but it has a length of '{len(sizes)}'"
            )
        for axis, (size, middle, step) in enumerate(zip(sizes, default, stride)):
            if not middle - step < size < middle + step:
                raise ValueError(
                    f'{op}: invalid output_size "{sizes}" (dim {axis} must be between '
                    f"{middle - step} and {middle + step})"
                )
    for axis, size in enumerate(sizes):
        if size < 0:
            raise ValueError(
                f"{op}: max_unpooling: output_size must contain non-negative spatial dimensions, "
                f"but got output_size[{axis}]={size}"
            )
    return sizes


def unpool_to(op: str, dims: int, input: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
    """Unpooling to planes of a size that is given, unchecked by any window."""
    check_floating(op, input)
    check_tensor(op, "indices", 2, indices)
    if len(size) != dims:
        raise RuntimeError(
            f"{op}: There should be exactly {('two', 'three')[dims - 2]} elements in output_size, "
            f"but got {len(size)} elements."
        )
    if indices.dtype != torch.int64:
        raise RuntimeError(
            f"{op}: elements in indices should be type int64 but got: {str(indices.dtype)[6:]}"
        )
    if input.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{op}: Input to max_unpooling{dims}d should be a {dims + 1}d or {dims + 2}d Tensor, "
            f"but got a tensor with {input.dim()} dimensions."
        )
    if input.shape != indices.shape:
        raise RuntimeError(
            f"{op}: Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
        )
    input = float32_under_autocast(input)
    ops, size = operators_for(input), expand(op, "output_size", tuple(size), dims)
    if input.dim() == dims + 2:
        return _ops.max_unpool_forward(ops, input, indices, size)
    return _ops.max_unpool_forward(ops, input.unsqueeze(0), indices.unsqueeze(0), size).squeeze(0)


def _max_unpool(
    op: str, dims: int, input: Tensor, indices: Tensor, kernel_size: IntOrInts,
    stride: IntOrInts | None, padding: IntOrInts, output_size: Sequence[int] | None,
) -> Tensor:  # fmt: skip
    check_tensor(op, "input", 1, input)
    kernel = expand(op, "kernel_size", kernel_size, dims)
    steps = kernel if stride is None else expand(op, "stride", stride, dims)
    if dims == 3 and any(step <= 0 for step in steps):
        raise RuntimeError(
            f"{op}: strides should be greater than zero, but got stride: {list(steps)}"
        )
    if input.dim() < dims:
        raise RuntimeError(
            f"{op}: Input to max_unpooling{dims}d should be a {dims + 1}d or {dims + 2}d Tensor, "
            f"but got a tensor with {input.dim()} dimensions."
        )
    pads = expand(op, "padding", padding, dims)
    size = _output_size(op, input, kernel, steps, pads, output_size)
    return unpool_to(op, dims, input, indices, size)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.max_unpool1d` on cnnkern's kernels.

    input and indices (N, C, Q) or (C, Q); returns (N, C, W); see :func:`max_unpool2d`.

    >>> max_unpool1d(torch.tensor([[5.0, 4.0]]), torch.tensor([[1, 2]]), 2)
    tensor([[0., 5., 4., 0.]])
    """
    return _max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.max_unpool2d` on cnnkern's kernels: the maxima, zeros between.

    Args:
        input: (N, C, P, Q) or (C, P, Q), of float32, float64, float16 or bfloat16.
        indices: int64, as ``max_pool2d(return_indices=True)`` gives them. Of values with equal
            indices the last is kept.
        output_size: (H, W), or the pooled tensor's whole size; without it H is
            (P − 1)·stride − 2·padding + kernel_size. It must be less than a stride away from that.

    Returns:
        (N, C, H, W), in channels_last if one of the tensors is.

    Raises:
        RuntimeError: an index lies outside its plane. On a GPU and in the emulator, where a kernel
            cannot raise, such a value is left out.

    >>> max_unpool2d(torch.tensor([[[3.0]]]), torch.tensor([[[1]]]), 2)
    tensor([[[0., 3.],
             [0., 0.]]])
    """
    return _max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    padding: IntOrInts = 0, output_size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.max_unpool3d` on cnnkern's kernels.

    input and indices (N, C, Z, P, Q) or (C, Z, P, Q); returns (N, C, D, H, W); see
    :func:`max_unpool2d`.
    """
    return _max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)
