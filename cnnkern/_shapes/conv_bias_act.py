"""Sizes and checks of the fused convolution."""

from __future__ import annotations

from torch import Tensor

from cnnkern._shapes import Ints, require
from cnnkern._shapes.convolution import conv_output

ACTIVATIONS = ("relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "hardswish")


def output_size(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    activation: str | None,
) -> list[int]:
    """N, K and the spatial sizes of the output, which are the residual's too."""
    size = [x.shape[0], w.shape[0], *conv_output(x, w, bias, stride, padding, dilation, groups)]
    require(
        activation is None or activation in ACTIVATIONS,
        f"conv_bias_act: activation is {activation!r}, but {', '.join(ACTIVATIONS)} or None is "
        "expected",
    )
    if residual is not None:
        require(
            residual.dtype == x.dtype,
            f"conv_bias_act: Input type ({str(x.dtype)[6:]}) and residual type "
            f"({str(residual.dtype)[6:]}) should be the same; convert one of them",
        )
        require(
            residual.device == x.device,
            "conv_bias_act: Expected all tensors to be on the same device, but input and residual "
            "are on different ones; move one of them",
        )
        require(
            residual.dim() == len(size)
            and all(given == wanted for given, wanted in zip(residual.shape, size)),
            f"conv_bias_act: expected residual of the output's size {size}, but got "
            f"{list(residual.shape)}",
        )
    return size
