"""Sizes and checks of convolution and its two gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cnnkern._shapes import Ints, require

_LONGEST, _LARGEST = 2**40, 2**62  # elements along one axis, elements of a tensor


def _joined(values: Sequence[Any]) -> str:
    return " x ".join(str(value) for value in values)


def _check_arguments(stride: Ints, padding: Ints, dilation: Ints, groups: int) -> None:
    require(
        all(value >= 0 for value in padding),
        f"conv: negative padding is not supported: padding is {_joined(padding[0::2])}; "
        "crop the input instead",
    )
    require(
        all(value > 0 for value in stride),
        f"conv: non-positive stride is not supported: stride is {_joined(stride)}; use 1 or more",
    )
    require(
        all(value > 0 for value in dilation),
        f"conv: dilation should be greater than zero: dilation is {_joined(dilation)}; "
        "use 1 for a dense filter",
    )
    require(
        groups > 0,
        f"conv: non-positive groups is not supported: groups is {groups}; use 1 or more",
    )


def _windows(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> list[int]:
    """O = (I + pads − footprint)/stride + 1 for each axis."""
    begin, end = padding[0::2], padding[1::2]
    require(
        all(value > 0 for value in kernel),
        "conv: weight should have at least one element along each spatial dimension: kernel is "
        f"{_joined(kernel)}",
    )
    require(
        all(
            value < _LONGEST
            for values in (size, kernel, stride, padding, dilation)
            for value in values
        ),
        "conv: integer overflow: kernel size, dilation, stride and padding must stay below 2^40",
    )
    padded = [i + b + e for i, b, e in zip(size, begin, end)]
    footprint = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    require(
        all(p >= f for p, f in zip(padded, footprint)),
        f"conv: Calculated padded input size per channel: ({_joined(padded)}). Kernel size: "
        f"({_joined(footprint)}). Kernel size can't be greater than actual input size; pad the "
        "input or use a smaller kernel",
    )
    return [(p - f) // s + 1 for p, f, s in zip(padded, footprint, stride)]


def _check_types(x: Tensor, x_name: str, other: Tensor, name: str) -> None:
    require(
        x.dtype == other.dtype,
        f"conv: Input type ({str(x.dtype)[6:]}) and {name} type ({str(other.dtype)[6:]}) should be "
        "the same; convert one of them",
    )
    require(
        x.device == other.device,
        f"conv: Expected all tensors to be on the same device, but {x_name} and {name} are on "
        "different ones; move one of them",
    )


def _check_volume(*sizes: int) -> None:
    """Symbolic sizes are those of tensors that exist."""
    if all(isinstance(size, int) for size in sizes):
        require(
            math.prod(sizes) < _LARGEST,
            "conv: integer overflow: a tensor of this convolution would have 2^62 elements or "
            "more; use smaller sizes or less padding",
        )


def _check_bias(x: Tensor, w: Tensor, bias: Tensor | None, channels: int) -> None:
    if bias is None:
        return
    _check_types(x, "input", bias, "bias")
    require(
        bias.dim() == 1 and bias.shape[0] == channels,
        f"conv: Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with "
        f"{channels} elements, but got bias of size {list(bias.shape)} instead",
    )


def _check_weight(x: Tensor, w: Tensor) -> None:
    require(
        w.dim() >= 3,
        "conv: weight should have at least three dimensions, but got weight of size "
        f"{list(w.shape)}",
    )
    require(
        w.dim() == x.dim(),
        f"conv: Expected {w.dim()}-dimensional input for {w.dim()}-dimensional weight "
        f"{list(w.shape)}, but got input of size {list(x.shape)}",
    )
    _check_types(x, "input", w, "weight")


def conv_output(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
) -> list[int]:
    """Z, P, Q of a convolution (those that it has)."""
    _check_weight(x, w)
    _check_arguments(stride, padding, dilation, groups)
    wanted = "at least" if w.shape[0] < groups else "divisible by"
    require(
        w.shape[0] >= groups and w.shape[0] % groups == 0,
        f"conv: Given groups={groups}, expected weight to be {wanted} {groups} at dimension 0, "
        f"but got weight of size {list(w.shape)} instead",
    )
    require(
        x.shape[1] == w.shape[1] * groups,
        f"conv: Given groups={groups}, weight of size {list(w.shape)}, expected input"
        f"{list(x.shape)} to have {w.shape[1] * groups} channels, but got {x.shape[1]} channels "
        "instead",
    )
    _check_bias(x, w, bias, w.shape[0])
    output = _windows(x.shape[2:], w.shape[2:], stride, padding, dilation)
    _check_volume(x.shape[0], w.shape[0], *output)
    return output


def _check_grad(dy: Tensor, channels: int, n: int, output: Ints) -> None:
    fits = all(given <= size for given, size in zip(dy.shape[2:], output))
    require(
        fits and dy.shape[0] == n and dy.shape[1] == channels,
        f"conv: expected grad_output of size {[n, channels, *output]}, but got {list(dy.shape)}",
    )


def check_input_grad(
    dy: Tensor,
    w: Tensor,
    bias: Tensor | None,
    size: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
) -> None:
    """Raises RuntimeError unless dy is the gradient of an output that input size and w make."""
    _check_weight(dy, w)
    _check_arguments(stride, padding, dilation, groups)
    require(
        dy.shape[1] == w.shape[0],
        f"conv: Given transposed=1, weight of size {list(w.shape)}, expected input{list(dy.shape)} "
        f"to have {w.shape[0]} channels, but got {dy.shape[1]} channels instead",
    )
    _check_bias(dy, w, bias, w.shape[1] * groups)
    output = _windows(size, w.shape[2:], stride, padding, dilation)
    _check_volume(dy.shape[0], w.shape[1] * groups, *size)
    _check_grad(dy, w.shape[0], dy.shape[0], output)


def check_weight_grad(
    dy: Tensor, x: Tensor, size: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> None:
    """Raises RuntimeError unless dy is the gradient of an output that x and a filter make."""
    _check_types(x, "input", dy, "grad_output")
    _check_arguments(stride, padding, dilation, groups)
    _check_grad(dy, dy.shape[1], x.shape[0], _windows(x.shape[2:], size, stride, padding, dilation))
