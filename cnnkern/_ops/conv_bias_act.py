"""The fused convolution: activation(conv + bias + residual), and its derivatives.

relu, relu6, tanh and sigmoid are differentiated through the output. gelu, silu and hardswish need
what they were taken of, the pre-activation, which the kernel keeps as a second result where a
derivative may be asked for. It is an output like any other: higher derivatives flow through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cnnkern import _library
from cnnkern._ops._common import Dims, empty, front, into_batch, into_channels
from cnnkern._ops.convolution import (
    _broadcast_bias,
    _sum,
    conv_bias_grad,
    conv_forward,
    conv_input_grad,
    conv_weight_grad,
)
from cnnkern._shapes import conv_bias_act as _shapes

_aten = torch.ops.aten


def _silu_backward(grad: Tensor, z: Tensor) -> Tensor:
    """torch's own has no derivative; in algebra where somebody may want one."""
    if not torch.is_grad_enabled() and forward_ad._current_level < 0:
        result: Tensor = _aten.silu_backward(grad, z)
        return result
    sigmoid = torch.sigmoid(z)
    return grad * (sigmoid * (1 + z * (1 - sigmoid)))


_OF_OUTPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda grad, y: _aten.threshold_backward(grad, y, 0),
    "relu6": lambda grad, y: _aten.hardtanh_backward(grad, y, 0, 6),
    "tanh": lambda grad, y: _aten.tanh_backward(grad, y),
    "sigmoid": lambda grad, y: _aten.sigmoid_backward(grad, y),
}
_OF_PREACTIVATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gelu": lambda grad, z: _aten.gelu_backward(grad, z),
    "silu": _silu_backward,
    "hardswish": lambda grad, z: _aten.hardswish_backward(grad, z),
}


def _through_activation(ctx: Any, grad: Tensor, output: Tensor, preactivation: Tensor) -> Tensor:
    """The gradient (or, the derivative being diagonal, the tangent) times the derivative."""
    if ctx.activation is None:
        return grad
    if ctx.activation in _OF_OUTPUT:
        return _OF_OUTPUT[ctx.activation](grad, output)
    if not ctx.kept:
        raise RuntimeError(
            f"conv_bias_act: {ctx.activation} cannot be differentiated without its "
            "pre-activation; pass keep_preactivation=True"
        )
    return _OF_PREACTIVATION[ctx.activation](grad, preactivation)


class _ConvBiasAct:
    name, tensors = "conv_bias_act", 4

    @staticmethod
    def fake(
        x: Tensor, w: Tensor, bias: Tensor | None, residual: Tensor | None, *p: Any
    ) -> tuple[Tensor, Tensor]:
        size = _shapes.output_size(x, w, bias, residual, *p[:5])
        output, keep = empty(x, size, x, w), p[5]
        return output, torch.empty_like(output) if keep else empty(x, (0,))

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, w, _, _, *ctx.p, ctx.activation, ctx.kept, _ = inputs
        if not ctx.kept:
            ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, w, *output)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, grad_preactivation: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, w, output, preactivation = ctx.saved_tensors
        if grad is not None:
            grad = _through_activation(ctx, grad, output, preactivation)
        if ctx.kept and grad_preactivation is not None:
            grad = _sum(grad, grad_preactivation)
        if grad is None:
            return (None, None, None, None)
        return (
            conv_input_grad(ctx.ops, grad, w, None, x.shape[2:], *ctx.p) if ctx.needs[0] else None,
            conv_weight_grad(ctx.ops, grad, x, w.shape[2:], *ctx.p) if ctx.needs[1] else None,
            conv_bias_grad(ctx.ops, grad) if ctx.needs[2] else None,
            grad if ctx.needs[3] else None,
        )

    @staticmethod
    def jvp(
        ctx: Any, dx: Tensor | None, dw: Tensor | None, db: Tensor | None, dr: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        x, w, output, preactivation = ctx.saved_tensors
        tangent = _sum(
            None if dx is None else conv_forward(ctx.ops, dx, w, None, *ctx.p),
            None if dw is None else conv_forward(ctx.ops, x, dw, None, *ctx.p),
            _broadcast_bias(db, output.shape),
            dr,
        )
        through = _through_activation(ctx, tangent, output, preactivation)
        return through, tangent if ctx.kept else None

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Any, Any]:
        x, w, bias, residual, *window, groups, activation, keep, packed = args
        batch = dims[1] is None and dims[2] is None
        fold, axis = (into_batch, 0) if batch else (into_channels, 1)
        if not batch:
            groups, packed = groups * size, None
            w = front(w, dims[1], size).flatten(0, 1)
            bias = None if bias is None else front(bias, dims[2], size).flatten(0, 1)
        residual = None if residual is None else fold(residual, dims[3], size)
        output, kept = conv_bias_act(
            ops, fold(x, dims[0], size), w, bias, residual, *window, groups, activation, keep,
            packed,
        )  # fmt: skip

        def unfold(tensor: Tensor) -> Tensor:
            unfolded: Tensor = tensor.unflatten(axis, (size, -1)).movedim(axis, 0)
            return unfolded

        return (unfold(output), unfold(kept) if keep else kept), (0, 0 if keep else None)


conv_bias_act: Callable[..., tuple[Tensor, Tensor]] = _library.wrap(_ConvBiasAct)


def keeps_preactivation(activation: str | None, tensors: Sequence[Tensor | None]) -> bool:
    """Whether a derivative may be asked that needs it."""
    if activation not in _OF_PREACTIVATION:
        return False
    if torch.compiler.is_compiling():
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return _library.needs_function(tensors)


RULES: tuple[Any, ...] = (_ConvBiasAct,)
