"""Convolution, its input, weight and bias gradients: each other's derivatives."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cnnkern import _library
from cnnkern._ops._common import Dims, Ints, empty, front, into_batch, into_channels
from cnnkern._shapes import convolution as _shapes


def _conv_vmap(
    operator: Callable[..., Tensor], ops: Any, size: int, dims: Dims, args: Sequence[Any]
) -> tuple[Tensor, int]:
    """The rule of conv_forward and conv_input_grad: (tensor, weight, bias, *lists, groups)."""
    x, w, bias, *lists, groups = args
    if dims[0] is None and dims[1] is None:  # the bias alone
        out = operator(ops, x, w, None, *lists, groups).unsqueeze(0)
    elif dims[1] is None:
        out = operator(ops, into_batch(x, dims[0], size), w, None, *lists, groups)
        out = out.unflatten(0, (size, -1))
    elif dims[0] is None and groups == 1:  # one input for all: their filters side by side
        side_by_side = into_batch if operator is conv_forward else into_channels
        out = operator(ops, x, side_by_side(w, dims[1], size), None, *lists, groups)
        out = out.unflatten(1, (size, -1)).movedim(1, 0)
    else:
        weights = front(w, dims[1], size).flatten(0, 1)
        out = operator(ops, into_channels(x, dims[0], size), weights, None, *lists, groups * size)
        out = out.unflatten(1, (size, -1)).movedim(1, 0)
    if bias is not None:
        bias = front(bias, dims[2], size)
        out = out + bias.reshape(size, 1, -1, *[1] * (out.dim() - 3))
    return out, 0


def _crop(tensor: Tensor, sizes: Ints) -> Tensor:
    """The leading part: with output_padding, a convolution may see windows its gradient has not."""
    for axis, size in enumerate(sizes, start=2):
        if tensor.shape[axis] != size:
            tensor = tensor.narrow(axis, 0, size)
    return tensor


def _sum(*terms: Tensor | None) -> Tensor:
    """The sum of those terms that are there; at least one is."""
    first, *others = [term for term in terms if term is not None]
    return sum(others, start=first)


def _flops(n: int, positions: Ints, w: Ints) -> int:
    """torch's count: two a product, of every filter with every window, padding included."""
    return 2 * n * math.prod(positions) * math.prod(w)


def _broadcast_bias(bias: Tensor | None, shape: Ints) -> Tensor | None:
    return None if bias is None else bias.reshape(-1, *[1] * (len(shape) - 2)).expand(*shape)


class _ConvForward:
    name, tensors = "conv_forward", 3

    @staticmethod
    def fake(x: Tensor, w: Tensor, bias: Tensor | None, *p: Any) -> Tensor:
        if "torch._inductor.compile_fx" in sys.modules:  # else its second-long import is saved
            from cnnkern import _inductor

            _inductor.register("cnnkern")
        size = _shapes.conv_output(x, w, bias, *p)
        return empty(x, (x.shape[0], w.shape[0], *size), x, w)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, w, _, *ctx.p = inputs
        ctx.out_shape = output.shape
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        return (
            conv_input_grad(ctx.ops, grad, w, None, x.shape[2:], *ctx.p) if ctx.needs[0] else None,
            conv_weight_grad(ctx.ops, grad, x, w.shape[2:], *ctx.p) if ctx.needs[1] else None,
            conv_bias_grad(ctx.ops, grad) if ctx.needs[2] else None,
        )

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, db: Tensor | None) -> Tensor:
        x, w = ctx.saved_tensors
        from_x = None if dx is None else conv_forward(ctx.ops, dx, w, None, *ctx.p)
        from_w = None if dw is None else conv_forward(ctx.ops, x, dw, None, *ctx.p)
        return _sum(from_x, from_w, _broadcast_bias(db, ctx.out_shape))

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        return _conv_vmap(conv_forward, ops, size, dims, args)

    @staticmethod
    def flops(x: Ints, w: Ints, *_: Any, out_shape: Ints) -> int:
        return _flops(x[0], out_shape[2:], w)


class _ConvInputGrad:
    name, tensors = "conv_input_grad", 3

    @staticmethod
    def fake(dy: Tensor, w: Tensor, bias: Tensor | None, size: Ints, *p: Any) -> Tensor:
        _shapes.check_input_grad(dy, w, bias, size, *p)
        return empty(dy, (dy.shape[0], w.shape[1] * p[-1], *size), dy, w)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dy, w, _, ctx.size, *ctx.p = inputs
        ctx.out_shape = output.shape
        ctx.save_for_backward(dy, w)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dy, w = ctx.saved_tensors
        return (
            _crop(conv_forward(ctx.ops, grad, w, None, *ctx.p), dy.shape[2:])
            if ctx.needs[0]
            else None,
            conv_weight_grad(ctx.ops, dy, grad, w.shape[2:], *ctx.p) if ctx.needs[1] else None,
            conv_bias_grad(ctx.ops, grad) if ctx.needs[2] else None,
        )

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor | None, dw: Tensor | None, db: Tensor | None) -> Tensor:
        dy, w = ctx.saved_tensors
        from_dy = None if ddy is None else conv_input_grad(ctx.ops, ddy, w, None, ctx.size, *ctx.p)
        from_w = None if dw is None else conv_input_grad(ctx.ops, dy, dw, None, ctx.size, *ctx.p)
        return _sum(from_dy, from_w, _broadcast_bias(db, ctx.out_shape))

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        return _conv_vmap(conv_input_grad, ops, size, dims, args)

    @staticmethod
    def flops(dy: Ints, w: Ints, *_: Any, out_shape: Ints) -> int:
        return _flops(dy[0], dy[2:], w)


class _ConvWeightGrad:
    name, tensors = "conv_weight_grad", 2

    @staticmethod
    def fake(dy: Tensor, x: Tensor, size: Ints, *p: Any) -> Tensor:
        _shapes.check_weight_grad(dy, x, size, *p)
        return empty(x, (dy.shape[1], x.shape[1] // p[-1], *size), dy, x)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dy, x, ctx.size, *ctx.p = inputs
        ctx.save_for_backward(dy, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dy, x = ctx.saved_tensors
        return (
            _crop(conv_forward(ctx.ops, x, grad, None, *ctx.p), dy.shape[2:])
            if ctx.needs[0]
            else None,
            conv_input_grad(ctx.ops, dy, grad, None, x.shape[2:], *ctx.p) if ctx.needs[1] else None,
        )

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor | None, dx: Tensor | None) -> Tensor:
        dy, x = ctx.saved_tensors
        from_dy = None if ddy is None else conv_weight_grad(ctx.ops, ddy, x, ctx.size, *ctx.p)
        from_x = None if dx is None else conv_weight_grad(ctx.ops, dy, dx, ctx.size, *ctx.p)
        return _sum(from_dy, from_x)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        dy, x, *lists, groups = args
        dy, x = into_channels(dy, dims[0], size), into_channels(x, dims[1], size)
        out = conv_weight_grad(ops, dy, x, *lists, groups * size)
        return out.unflatten(0, (size, -1)), 0

    @staticmethod
    def flops(dy: Ints, x: Ints, size: Ints, *_: Any, out_shape: Ints) -> int:
        return _flops(dy[0], dy[2:], (dy[1], x[1], *size))  # torch's does not divide by groups


class _ConvBiasGrad:
    name, tensors = "conv_bias_grad", 1

    @staticmethod
    def fake(dy: Tensor) -> Tensor:
        return empty(dy, (dy.shape[1],))

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = ctx.saved_tensors
        return (_broadcast_bias(grad, dy.shape),)

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor) -> Tensor:
        return conv_bias_grad(ctx.ops, ddy)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        out = conv_bias_grad(ops, into_channels(args[0], dims[0], size))
        return out.unflatten(0, (size, -1)), 0


conv_forward: Callable[..., Tensor] = _library.wrap(_ConvForward)
conv_input_grad: Callable[..., Tensor] = _library.wrap(_ConvInputGrad)
conv_weight_grad: Callable[..., Tensor] = _library.wrap(_ConvWeightGrad)
conv_bias_grad: Callable[..., Tensor] = _library.wrap(_ConvBiasGrad)

RULES: tuple[Any, ...] = (_ConvForward, _ConvInputGrad, _ConvWeightGrad, _ConvBiasGrad)
