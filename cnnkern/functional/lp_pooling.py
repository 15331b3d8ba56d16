"""Lp pooling, 1-d to 3-d: powers, our average pooling, roots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cnnkern._shapes.avg_pooling import pool_output
from cnnkern.functional import avg_pooling, max_pooling
from cnnkern.functional._arguments import (
    FLOATS,
    INTEGERS,
    IntOrInts,
    batched,
    check_input,
    expand,
    strides,
)


def _lp_pool(
    dims: int, input: Tensor, norm_type: float, kernel_size: IntOrInts, stride: IntOrInts | None,
    ceil_mode: bool, dilation: IntOrInts,
) -> Tensor:  # fmt: skip
    op = f"lp_pool{dims}d"
    check_input(op, input, (*FLOATS, *INTEGERS, torch.bool))
    if isinstance(norm_type, int | float) and norm_type == 0:
        raise ValueError(f"{op}: norm_type must be a non-zero value, but got {norm_type}")
    if isinstance(norm_type, int | float) and math.isinf(norm_type):
        sign = math.copysign(1, norm_type)
        max_pool = getattr(max_pooling, f"max_pool{dims}d")
        maxima: Tensor = max_pool(sign * input.abs(), kernel_size, stride, 0, dilation, ceil_mode)
        return sign * maxima
    window = expand(op, "kernel_size", kernel_size, dims)
    # Of odd powers ONNX's node takes |x|, and windows that ceil_mode cuts it does not scale.
    even = isinstance(norm_type, int | float) and norm_type > 0 and norm_type % 2 == 0
    if torch.onnx.is_in_onnx_export() and even and not ceil_mode:
        steps, gaps = strides(op, stride, window, dims), expand(op, "dilation", dilation, dims)
        return _onnx_lp_pool(op, dims, input, int(norm_type), window, steps, gaps)
    avg_pool = getattr(avg_pooling, f"avg_pool{dims}d")
    taps = math.prod(window)
    mean: Tensor = avg_pool(
        input.pow(norm_type), kernel_size, stride, 0, ceil_mode, dilation=dilation
    )
    # As torch does: relu makes the gradient 0 where all of a window is.
    return (torch.sign(mean) * torch.relu(mean.abs())).mul(taps).pow(1.0 / norm_type)


def _onnx_lp_pool(
    op: str, dims: int, input: Tensor, norm_type: int, window: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """One LpPool node of ONNX: what the powers and the mean below could only be written out as."""
    x, has_batch = batched(op, input, dims)
    size = pool_output(x, window, stride, (0,) * dims, dilation, False, True, None)
    output = torch.onnx.ops.symbolic(
        "LpPool",
        (x,),
        {"p": norm_type, "kernel_shape": window, "strides": stride, "dilations": dilation},
        dtype=x.dtype,
        shape=(*x.shape[:2], *size),
    )
    return output if has_batch else output.squeeze(0)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    ceil_mode: bool = False, *, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.lp_pool1d` on cnnkern's kernels, and with ``dilation``.

    input (N, C, W) or (C, W); returns (N, C, Q); see :func:`lp_pool2d`.

    >>> lp_pool1d(torch.tensor([[[3.0, 4.0, 6.0, 8.0]]]), 2, 2)
    tensor([[[ 5., 10.]]])
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode, dilation)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    ceil_mode: bool = False, *, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.lp_pool2d` on cnnkern's kernels, and with ``dilation``.

    Each output is (mean of the window's x^p · taps of the window)^(1/p), which is (Σ x^p)^(1/p)
    where the whole window lies inside the input; p = ±inf gives the largest or smallest |x|.

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        norm_type: p, not 0.
        dilation: the distance of a window's taps, an extension; torch has none.

    Returns:
        (N, C, P, Q), as :func:`avg_pool2d` without padding.

    >>> lp_pool2d(torch.tensor([[[[1.0, 2.0], [2.0, 4.0]]]]), 2, 2)
    tensor([[[[5.]]]])
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode, dilation)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: IntOrInts, stride: IntOrInts | None = None,
    ceil_mode: bool = False, *, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.lp_pool3d` on cnnkern's kernels, and with ``dilation``.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, Z, P, Q); see :func:`lp_pool2d`.
    """
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode, dilation)
