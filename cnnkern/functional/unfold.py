"""Windows of images as columns, and back: unfold and fold."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    COMPLEX,
    FLOATS,
    INTEGERS,
    IntOrInts,
    check_input,
    expand,
)

_SUMMED = (*FLOATS, *COMPLEX, *INTEGERS)


def unfold(
    input: Tensor, kernel_size: IntOrInts, dilation: IntOrInts = 1, padding: IntOrInts = 0,
    stride: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.unfold` on cnnkern's kernels.

    input (N, C, H, W) or (C, H, W); returns (N, C·R·S, P·Q): a window is a column, zero where it
    reaches over the padding; P = (H + 2·padding − dilation·(R−1) − 1)/stride + 1.
    dtypes: all of convolution's, and bool.

    >>> unfold(torch.arange(9.0).reshape(1, 1, 3, 3), 2)[0]
    tensor([[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]])
    """
    check_input("unfold", input, (*_SUMMED, torch.bool))
    if input.dim() not in (3, 4):
        raise RuntimeError(
            "unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    images = input if input.dim() == 4 else input.unsqueeze(0)
    columns: Tensor = _ops.unfold(
        operators_for(input),
        images,
        expand("unfold", "kernel_size", kernel_size, 2),
        expand("unfold", "stride", stride, 2),
        expand("unfold", "padding", padding, 2),
        expand("unfold", "dilation", dilation, 2),
    )
    return columns if input.dim() == 4 else columns.squeeze(0)


def fold(
    input: Tensor, output_size: IntOrInts, kernel_size: IntOrInts, dilation: IntOrInts = 1,
    padding: IntOrInts = 0, stride: IntOrInts = 1,
) -> Tensor:  # fmt: skip
    """:func:`torch.nn.functional.fold` on cnnkern's kernels: :func:`unfold`'s transpose.

    input (N, C·R·S, P·Q) or (C·R·S, P·Q); returns (N, C, H, W) with H, W = output_size, each
    pixel the sum of what the windows hold for it. dtypes: all of convolution's, and bool, which is
    true where a window holds true; integers on the CPU only.

    >>> ones = unfold(torch.ones(1, 1, 3, 3), 2)
    >>> fold(ones, 3, 2)[0, 0]  # how many windows see each pixel
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    check_input("fold", input, (*_SUMMED, torch.bool))
    if input.dtype == torch.bool:
        return fold(input.float(), output_size, kernel_size, dilation, padding, stride) > 0
    if input.dim() not in (2, 3):
        raise RuntimeError(
            "fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    columns = input if input.dim() == 3 else input.unsqueeze(0)
    images: Tensor = _ops.fold(
        operators_for(input),
        columns,
        expand("fold", "output_size", output_size, 2),
        expand("fold", "kernel_size", kernel_size, 2),
        expand("fold", "stride", stride, 2),
        expand("fold", "padding", padding, 2),
        expand("fold", "dilation", dilation, 2),
    )
    return images if input.dim() == 3 else images.squeeze(0)
