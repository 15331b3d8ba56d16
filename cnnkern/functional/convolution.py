"""Convolution and transposed convolution, 1-d to 3-d."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch as torch  # the examples use it
from torch import Tensor

from cnnkern import _ops
from cnnkern._shapes import convolution as _shapes
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    INTS,
    IntOrInts,
    batched,
    check_input,
    check_range,
    check_tensor,
    expand,
)
from cnnkern.functional._complex import convolve, is_complex

Padding = str | int | Sequence[int] | Sequence[Sequence[int]]


def check_convolution(
    op: str, input: Any, weight: Any, bias: Any, groups: Any, dtypes: Sequence[torch.dtype]
) -> None:
    check_input(op, input, dtypes)
    check_tensor(op, "weight", 2, weight)
    if bias is not None:
        check_tensor(op, "bias", 3, bias)
    if isinstance(groups, bool) or not isinstance(groups, INTS):
        raise TypeError(f"{op}(): argument 'groups' must be int, not {type(groups).__name__}")


def sides(
    op: str, padding: Any, dims: int, kernel: Sequence[int], stride: Any, dilation: Any
) -> tuple[int, ...]:
    """Begin and end of every axis: 2·dims numbers."""
    if type(padding) is int:
        return expand(op, "padding", padding, 2 * dims)
    if isinstance(padding, str):
        return _named_sides(op, padding, dims, kernel, stride, dilation)
    if isinstance(padding, Sequence) and any(isinstance(side, Sequence) for side in padding):
        if len(padding) != dims or any(
            not isinstance(side, Sequence) or len(side) != 2 for side in padding
        ):
            raise RuntimeError(
                f"{op}: padding per side is one (begin, end) pair for each of {dims} dimensions, "
                f"but got {padding}"
            )
        return tuple(side for pair in padding for side in expand(op, "padding", pair, 2))
    return tuple(side for side in expand(op, "padding", padding, dims) for _ in range(2))


def _named_sides(
    op: str, padding: str, dims: int, kernel: Sequence[int], stride: Any, dilation: Any
) -> tuple[int, ...]:
    if padding == "valid":
        return (0,) * (2 * dims)
    if padding != "same":
        raise RuntimeError(f"{op}: Invalid padding string: {padding!r}; use 'same' or 'valid'")
    if any(step != 1 for step in stride):
        raise RuntimeError(f"{op}: padding='same' is not supported for strided convolutions")
    total = [step * (size - 1) for size, step in zip(kernel, dilation)]
    return tuple(side for both in total for side in (both // 2, both - both // 2))


def _run(
    operator: Callable[..., Tensor], check: Callable[..., Any], transposed: bool, input: Tensor,
    weight: Tensor, bias: Tensor | None, *lists: Any,
) -> Tensor:  # fmt: skip
    operators = operators_for(input)
    if is_complex(input, weight, bias):
        real = functools.partial(operator, operators)
        return convolve(real, check, transposed, input, weight, bias, *lists)
    return operator(operators, input, weight, bias, *lists)


def _convolution(
    op: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: IntOrInts,
    padding: Padding, dilation: IntOrInts, groups: int,
) -> Tensor:  # fmt: skip
    check_convolution(op, input, weight, bias, groups, FLOATS + INTEGERS + COMPLEX)
    input, has_batch = batched(op, input, dims)
    steps, spread = expand(op, "stride", stride, dims), expand(op, "dilation", dilation, dims)
    begins_ends = sides(op, padding, dims, weight.shape[2:], steps, spread)
    given = (input, weight, bias, steps, begins_ends, spread, groups)
    output = _run(_ops.conv_forward, _shapes.conv_output, False, *given)
    return output if has_batch else output.squeeze(0)


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv1d` on cnnkern's kernels.

    input (N, C, W) or (C, W); weight (K, C/groups, S); returns (N, K, Q) with
    Q = (W + pads − dilation·(S−1) − 1)/stride + 1.

    >>> conv1d(torch.ones(1, 1, 5), torch.ones(1, 1, 3), padding=1)
    tensor([[[2., 3., 3., 3., 2.]]])
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv2d` on cnnkern's kernels.

    input (N, C, H, W) or (C, H, W); weight (K, C/groups, R, S); bias (K); returns (N, K, P, Q)
    with P = (H + pads − dilation·(R−1) − 1)/stride + 1, in channels_last if input or weight is.
    dtypes: float32, float64, float16, bfloat16, complex32/64/128, and on the CPU uint8 and int8 to
    int64, whose sums wrap around; all tensors the same.

    Raises:
        TypeError: an argument is not a tensor or not an int.
        RuntimeError: shapes, dtypes, devices or parameters do not fit; the message says which.

    >>> conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3), padding=((1, 0), (0, 0))).shape
    torch.Size([1, 1, 2, 1])
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv3d` on cnnkern's kernels.

    input (N, C, D, H, W) or (C, D, H, W); weight (K, C/groups, T, R, S); returns (N, K, Z, P, Q).
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _transposed(
    op: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: IntOrInts,
    padding: IntOrInts, output_padding: IntOrInts, groups: int, dilation: IntOrInts,
) -> Tensor:  # fmt: skip
    check_convolution(op, input, weight, bias, groups, FLOATS + INTEGERS + COMPLEX)
    input, has_batch = batched(op, input, dims)
    steps, spread = expand(op, "stride", stride, dims), expand(op, "dilation", dilation, dims)
    pads = expand(op, "padding", padding, dims)
    extra = expand(op, "output_padding", output_padding, dims)
    if any(value < 0 for value in extra):
        raise RuntimeError(
            f"{op}: negative output_padding is not supported: output_padding is {list(extra)}"
        )
    if any(value >= max(step, gap) for value, step, gap in zip(extra, steps, spread)):
        raise RuntimeError(
            f"{op}: output padding must be smaller than either stride or dilation, but got "
            f"output_padding={list(extra)}, stride={list(steps)}, dilation={list(spread)}"
        )
    size = [
        (i - 1) * s - 2 * p + d * (k - 1) + e + 1
        for i, k, s, p, d, e in zip(input.shape[2:], weight.shape[2:], steps, pads, spread, extra)
    ]
    check_range(op, "the output's size", size)
    if any(value <= 0 for value in size):
        raise RuntimeError(
            f"{op}: Given input size per channel: {list(input.shape[2:])}. Calculated output size "
            f"per channel: {size}. Output size is too small; use less padding"
        )
    begins_ends = tuple(side for side in pads for _ in range(2))
    given = (input, weight, bias, size, steps, begins_ends, spread, groups)
    output = _run(_ops.conv_input_grad, _shapes.check_input_grad, True, *given)
    return output if has_batch else output.squeeze(0)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: IntOrInts = 0, output_padding: IntOrInts = 0, groups: int = 1, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv_transpose1d` on cnnkern's kernels.

    input (N, K, Q) or (K, Q); weight (K, C/groups, S); returns (N, C, W) with
    W = (Q−1)·stride − 2·padding + dilation·(S−1) + output_padding + 1.
    """
    return _transposed(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: IntOrInts = 0, output_padding: IntOrInts = 0, groups: int = 1, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv_transpose2d` on cnnkern's kernels: conv2d's input gradient.

    input (N, K, P, Q) or (K, P, Q); weight (K, C/groups, R, S); returns (N, C, H, W).

    >>> conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), stride=2).shape
    torch.Size([1, 1, 4, 4])
    """
    return _transposed(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: IntOrInts = 0, output_padding: IntOrInts = 0, groups: int = 1, dilation: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.conv_transpose3d` on cnnkern's kernels.

    input (N, K, Z, P, Q) or (K, Z, P, Q); weight (K, C/groups, T, R, S); returns (N, C, D, H, W).
    """
    return _transposed(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )
