"""Sizes and checks of unfold and fold: the sentences of csrc/torch/unfold_args.cpp."""

from __future__ import annotations

from torch import Tensor

from cnnkern._shapes import Ints, require


def _check_arguments(op: str, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> None:
    positive = "greater than zero"
    for what, must, least, values in (
        ("kernel size", positive, 1, kernel),
        ("dilation", positive, 1, dilation),
        ("padding", "non-negative", 0, padding),
        ("stride", positive, 1, stride),
    ):
        require(
            all(value >= least for value in values),
            f"{op}: {what} should be {must}, but got {values[0]} x {values[1]}",
        )


def _blocks(size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> list[int]:
    return [
        (i + 2 * p - d * (k - 1) - 1) // s + 1
        for i, k, s, p, d in zip(size, kernel, stride, padding, dilation)
    ]


def unfold_output(
    x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[int, int, int]:
    """(N, C·R·S, P·Q)"""
    _check_arguments("unfold", kernel, stride, padding, dilation)
    require(
        x.dim() == 4 and all(value != 0 for value in x.shape[1:]),
        "unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
        f"non-zero dimensions for input, but got: {list(x.shape)}",
    )
    p, q = _blocks(x.shape[2:], kernel, stride, padding, dilation)
    require(
        p >= 1 and q >= 1,
        f"unfold: Given input with spatial size {tuple(x.shape[2:])}, kernel_size={tuple(kernel)}, "
        f"dilation={tuple(dilation)}, padding={tuple(padding)}, calculated shape of the array of "
        f"sliding blocks as {(p, q)}, but its components must be at least one.",
    )
    return x.shape[0], x.shape[1] * kernel[0] * kernel[1], p * q


def fold_output(
    columns: Tensor, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[int, int, int, int]:
    """(N, C, H, W)"""
    _check_arguments("fold", kernel, stride, padding, dilation)
    require(
        columns.dim() == 3 and all(value != 0 for value in columns.shape[1:]),
        "fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
        f"non-zero dimensions for input, but got: {list(columns.shape)}",
    )
    rows, taps = columns.shape[1], kernel[0] * kernel[1]
    require(
        rows % taps == 0,
        "fold: Expected size of input's dimension 1 to be divisible by the product of "
        f"kernel_size, but got input.size(1)={rows} and kernel_size={tuple(kernel)}.",
    )
    p, q = _blocks(size, kernel, stride, padding, dilation)
    require(
        p >= 1 and q >= 1 and columns.shape[2] == p * q,
        f"fold: Given output_size={tuple(size)}, kernel_size={tuple(kernel)}, "
        f"dilation={tuple(dilation)}, padding={tuple(padding)}, stride={tuple(stride)}, expected "
        f"size of input's dimension 2 to match the calculated number of sliding blocks {p} * {q} "
        f"= {p * q}, but got input.size(2)={columns.shape[2]}.",
    )
    return columns.shape[0], rows // taps, size[0], size[1]
