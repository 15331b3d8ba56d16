"""The fused convolution: bias, residual and activation in the convolution's own kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern._shapes.conv_bias_act import ACTIVATIONS
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import FLOATS, IntOrInts, batched, check_tensor, expand
from cnnkern.functional.convolution import Padding, check_convolution, sides


def check_activation(op: str, activation: Any) -> None:
    """Raises ValueError unless it is None or one of the names."""
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(
            f"{op}: activation is {activation!r}, but {', '.join(ACTIVATIONS)} or None is expected"
        )


def fused(
    op: str, dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: IntOrInts,
    padding: Padding, dilation: IntOrInts, groups: int, activation: str | None,
    residual: Tensor | None, packed: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """What the functions below do in ``dims`` dimensions; packed is :func:`pack_weight`'s."""
    check_activation(op, activation)
    check_convolution(op, input, weight, bias, groups, FLOATS)
    input, has_batch = batched(op, input, dims)
    if residual is not None:
        check_tensor(op, "residual", 9, residual)
        residual = residual if has_batch else residual.unsqueeze(0)
    steps, spread = expand(op, "stride", stride, dims), expand(op, "dilation", dilation, dims)
    begins_ends = sides(op, padding, dims, weight.shape[2:], steps, spread)
    tensors = (input, weight, bias, residual)
    keep = _ops.keeps_preactivation(activation, tensors)
    output, _ = _ops.conv_bias_act(
        operators_for(input), *tensors, steps, begins_ends, spread, groups, activation, keep,
        packed,
    )  # fmt: skip
    return output if has_batch else output.squeeze(0)


def pack_weight(
    input: Tensor, weight: Tensor, stride: IntOrInts, padding: Padding, dilation: IntOrInts,
    groups: int,
) -> Tensor:  # fmt: skip
    """The weight as the CPU's kernel for such inputs reads it; empty if that is as it is."""
    dims = weight.dim() - 2
    input, _ = batched("pack_weight", input, dims)
    steps = expand("pack_weight", "stride", stride, dims)
    spread = expand("pack_weight", "dilation", dilation, dims)
    begins_ends = sides("pack_weight", padding, dims, weight.shape[2:], steps, spread)
    packed: Tensor = torch.ops.cnnkern.conv_pack_weight(
        input, weight, steps, begins_ends, spread, groups
    )
    return packed


def conv1d_bias_act(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
    activation: str | None = "relu", residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """activation(conv1d(input, weight, bias) + residual): :func:`conv2d_bias_act` in 1-d.

    input (N, C, W) or (C, W); weight (K, C/groups, S); residual and result (N, K, Q).

    >>> import torch
    >>> conv1d_bias_act(torch.tensor([[[1.0, -2.0, 3.0]]]), torch.ones(1, 1, 2))
    tensor([[[0., 1.]]])
    """
    return fused(
        "conv1d_bias_act", 1, input, weight, bias, stride, padding, dilation, groups, activation,
        residual,
    )  # fmt: skip


def conv2d_bias_act(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
    activation: str | None = "relu", residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """activation(conv2d(input, weight, bias) + residual), in one kernel.

    The sum stays in the accumulator (float32 for half types) until the activation is taken; it is
    rounded once. Differentiable to every order; where a gradient may be asked of gelu, silu or
    hardswish, the kernel also stores the sum.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (K, C/groups, R, S).
        bias: (K).
        stride, padding, dilation, groups: as in :func:`conv2d`.
        activation: ``"relu"``, ``"relu6"`` (min(max(x, 0), 6)), ``"tanh"``, ``"sigmoid"``,
            ``"gelu"`` (x·(1 + erf(x/√2))/2), ``"silu"`` (x/(1 + e^−x)), ``"hardswish"``
            (x·relu6(x+3)/6), or None.
        residual: the result's shape (N, K, P, Q) or (K, P, Q), added before the activation.

    Raises:
        ValueError: the activation has none of these names.
        TypeError, RuntimeError: as :func:`conv2d`, and where the residual does not fit.

    >>> import torch
    >>> x, w = torch.ones(1, 1, 3, 3), torch.full((1, 1, 3, 3), -1.0)
    >>> conv2d_bias_act(x, w, residual=torch.full((1, 1, 1, 1), 11.0))
    tensor([[[[2.]]]])
    """
    return fused(
        "conv2d_bias_act", 2, input, weight, bias, stride, padding, dilation, groups, activation,
        residual,
    )  # fmt: skip


def conv3d_bias_act(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: IntOrInts = 1,
    padding: Padding = 0, dilation: IntOrInts = 1, groups: int = 1,
    activation: str | None = "relu", residual: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """activation(conv3d(input, weight, bias) + residual): :func:`conv2d_bias_act` in 3-d.

    input (N, C, D, H, W) or (C, D, H, W); weight (K, C/groups, T, R, S); residual and result
    (N, K, Z, P, Q).
    """
    return fused(
        "conv3d_bias_act", 3, input, weight, bias, stride, padding, dilation, groups, activation,
        residual,
    )  # fmt: skip
