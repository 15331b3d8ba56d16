"""Sizes and checks of adaptive and fractional max pooling and of unpooling."""

from __future__ import annotations

from torch import Tensor

from cnnkern._shapes import Ints, require


def _check_not_empty(op: str, x: Tensor) -> None:
    require(
        all(value != 0 for value in x.shape[1:]),
        f"{op}: Expected input to have non-zero size for non-batch dimensions, but got sizes "
        f"{list(x.shape)}",
    )


def pool_output(x: Tensor, samples: Tensor | None, kernel: Ints, output: Ints) -> Ints:
    """The sizes that are asked for, checked; with samples windows are fractional."""
    op = "adaptive_max_pool" if samples is None else "fractional_max_pool"
    _check_not_empty(op, x)
    for value in output:
        require(
            value >= 0,
            f"{op}: Trying to create tensor with negative dimension {value}: elements of "
            "output_size must be 0 or more",
        )
    if samples is None:
        return output
    names = ("time", "height", "width")[-len(output) :]
    for name, size, k, windows in zip(names, x.shape[2:], kernel, output):
        require(k > 0, f"{op}: kernel size should be greater than zero, but got {k}")
        require(
            windows + k - 1 <= size - (len(output) == 3),  # in 3-d torch wants one element more
            f"{op}: pool {name} {k} too large relative to input {name} {size}: output_size + "
            "kernel_size - 1 must be at most that, in 3-d less",
        )
    return output


def unpool_output(x: Tensor, indices: Tensor, output: Ints) -> Ints:
    """The sizes that are asked for, checked."""
    require(
        x.dim() == indices.dim() and all(a == b for a, b in zip(x.shape, indices.shape)),
        "max_unpool: Expected shape of indices to be same as that of the input tensor "
        f"({list(x.shape)}) but got indices tensor with shape: {list(indices.shape)}",
    )
    for value in output:
        require(
            value >= 0,
            "max_unpool: output_size must contain non-negative spatial dimensions, but got "
            f"{value}",
        )
    _check_not_empty("max_unpool", x)
    return output
