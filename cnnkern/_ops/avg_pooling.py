"""Average pooling with strided and with adaptive windows: linear, so two rules give all orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cnnkern import _library
from cnnkern._ops._common import Dims, Ints, empty, into_batch
from cnnkern._shapes import avg_pooling as _shapes


class _Linear:
    """A linear operator of one tensor: its tangent is itself, its gradient another such operator.

    ``gradient(ops, grad, size, *p)`` gets the tensor's spatial sizes and the other arguments.
    """

    tensors = 1

    def __init__(
        self, name: str, fake: Callable[..., Tensor], gradient: Callable[..., Tensor]
    ) -> None:
        self.name, self.fake, self._gradient = name, fake, gradient
        self.call: Callable[..., Tensor] = _library.wrap(self)

    def setup(self, ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *ctx.p = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward()

    def backward(self, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (self._gradient(ctx.ops, grad, ctx.size, *ctx.p),)

    def jvp(self, ctx: Any, dx: Tensor) -> Tensor:
        return self.call(ctx.ops, dx, *ctx.p)

    def vmap(self, ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        x, *p = args
        return self.call(ops, into_batch(x, dims[0], size), *p).unflatten(0, (size, -1)), 0


def _forward_fake(x: Tensor, *p: Any) -> Tensor:
    return empty(x, (*x.shape[:2], *_shapes.pool_output(x, *p)), x)


def _backward_fake(dy: Tensor, size: Ints, *p: Any) -> Tensor:
    return empty(dy, (*dy.shape[:2], *size), dy)


def _forward_gradient(ops: Any, grad: Tensor, size: Ints, *p: Any) -> Tensor:
    return avg_pool_backward(ops, grad, size, *p)


def _backward_gradient(ops: Any, grad: Tensor, _: Ints, __: Ints, *p: Any) -> Tensor:
    return avg_pool_forward(ops, grad, *p)


def _adaptive_forward_fake(x: Tensor, output_size: Ints) -> Tensor:
    return empty(x, (*x.shape[:2], *_shapes.adaptive_output(x, output_size)), x)


def _adaptive_forward_gradient(ops: Any, grad: Tensor, size: Ints, _: Ints) -> Tensor:
    return adaptive_avg_pool_backward(ops, grad, size)


def _adaptive_backward_gradient(ops: Any, grad: Tensor, size: Ints, _: Ints) -> Tensor:
    return adaptive_avg_pool_forward(ops, grad, size)


_FORWARD = _Linear("avg_pool_forward", _forward_fake, _forward_gradient)
_BACKWARD = _Linear("avg_pool_backward", _backward_fake, _backward_gradient)
_ADAPTIVE_FORWARD = _Linear(
    "adaptive_avg_pool_forward", _adaptive_forward_fake, _adaptive_forward_gradient
)
_ADAPTIVE_BACKWARD = _Linear(
    "adaptive_avg_pool_backward", _backward_fake, _adaptive_backward_gradient
)

avg_pool_forward = _FORWARD.call
avg_pool_backward = _BACKWARD.call
adaptive_avg_pool_forward = _ADAPTIVE_FORWARD.call
adaptive_avg_pool_backward = _ADAPTIVE_BACKWARD.call

RULES: tuple[Any, ...] = (_FORWARD, _BACKWARD, _ADAPTIVE_FORWARD, _ADAPTIVE_BACKWARD)
