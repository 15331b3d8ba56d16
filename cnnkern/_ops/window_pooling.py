"""Max pooling over adaptive and fractional windows, unpooling, and the derivatives of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cnnkern import _library
from cnnkern._ops._common import Dims, Ints, empty, into_batch
from cnnkern._shapes import window_pooling as _shapes


def _fold(size: int, dims: Dims, tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Each tensor that is there, its mapped dimension in the batch."""
    pairs = zip(tensors, dims)
    return [None if tensor is None else into_batch(tensor, dim, size) for tensor, dim in pairs]


class _Forward:
    name, tensors = "window_max_pool_forward", 2

    @staticmethod
    def fake(
        x: Tensor, samples: Tensor | None, kernel: Ints, output: Ints
    ) -> tuple[Tensor, Tensor]:
        size = (*x.shape[:2], *_shapes.pool_output(x, samples, kernel, output))
        return empty(x, size, x), empty(x, size, x, dtype=torch.int64)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, samples, ctx.kernel, _ = inputs
        ctx.size = x.shape[2:]
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output[1], samples)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None, None)
        indices, samples = ctx.saved_tensors
        return (
            window_max_pool_backward(ctx.ops, grad, indices, samples, ctx.size, ctx.kernel),
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: None) -> tuple[Tensor, None]:
        indices, samples = ctx.saved_tensors
        return window_max_pool_gather(ctx.ops, dx, indices, samples, ctx.kernel), None

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Any, Any]:
        *tensors, kernel, output = args
        found = window_max_pool_forward(ops, *_fold(size, dims, tensors), kernel, output)
        return tuple(value.unflatten(0, (size, -1)) for value in found), (0, 0)


class _Backward:
    name, tensors = "window_max_pool_backward", 3

    @staticmethod
    def fake(dy: Tensor, indices: Tensor, _: Tensor | None, size: Ints, __: Ints) -> Tensor:
        return empty(dy, (*dy.shape[:2], *size), dy, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, indices, samples, ctx.size, ctx.kernel = inputs
        ctx.save_for_backward(indices, samples)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        indices, samples = ctx.saved_tensors
        return window_max_pool_gather(ctx.ops, grad, indices, samples, ctx.kernel), None, None

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor, _: None, __: None) -> Tensor:
        indices, samples = ctx.saved_tensors
        return window_max_pool_backward(ctx.ops, ddy, indices, samples, ctx.size, ctx.kernel)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        *tensors, input_size, kernel = args
        found = window_max_pool_backward(ops, *_fold(size, dims, tensors), input_size, kernel)
        return found.unflatten(0, (size, -1)), 0


class _Gather:
    name, tensors = "window_max_pool_gather", 3

    @staticmethod
    def fake(x: Tensor, indices: Tensor, _: Tensor | None, __: Ints) -> Tensor:
        return empty(x, indices.shape, x, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, indices, samples, ctx.kernel = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward(indices, samples)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        indices, samples = ctx.saved_tensors
        return (
            window_max_pool_backward(ctx.ops, grad, indices, samples, ctx.size, ctx.kernel),
            None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: None, __: None) -> Tensor:
        indices, samples = ctx.saved_tensors
        return window_max_pool_gather(ctx.ops, dx, indices, samples, ctx.kernel)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        *tensors, kernel = args
        found = window_max_pool_gather(ops, *_fold(size, dims, tensors), kernel)
        return found.unflatten(0, (size, -1)), 0


class _UnpoolForward:
    name, tensors = "max_unpool_forward", 2

    @staticmethod
    def fake(x: Tensor, indices: Tensor, output: Ints) -> Tensor:
        size = (*x.shape[:2], *_shapes.unpool_output(x, indices, output))
        return empty(x, size, x, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, indices, ctx.size = inputs
        ctx.save_for_backward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        return max_unpool_backward(ctx.ops, grad, indices), None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: None) -> Tensor:
        (indices,) = ctx.saved_tensors
        return max_unpool_forward(ctx.ops, dx, indices, ctx.size)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        *tensors, output = args
        found = max_unpool_forward(ops, *_fold(size, dims, tensors), output)
        return found.unflatten(0, (size, -1)), 0


class _UnpoolBackward:
    name, tensors = "max_unpool_backward", 2

    @staticmethod
    def fake(dy: Tensor, indices: Tensor) -> Tensor:
        return empty(dy, indices.shape, dy, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dy, indices = inputs
        ctx.size = dy.shape[2:]
        ctx.save_for_backward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        return max_unpool_forward(ctx.ops, grad, indices, ctx.size), None

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor, _: None) -> Tensor:
        (indices,) = ctx.saved_tensors
        return max_unpool_backward(ctx.ops, ddy, indices)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        found = max_unpool_backward(ops, *_fold(size, dims, args))
        return found.unflatten(0, (size, -1)), 0


window_max_pool_forward: Callable[..., tuple[Tensor, Tensor]] = _library.wrap(_Forward)
window_max_pool_backward: Callable[..., Tensor] = _library.wrap(_Backward)
window_max_pool_gather: Callable[..., Tensor] = _library.wrap(_Gather)
max_unpool_forward: Callable[..., Tensor] = _library.wrap(_UnpoolForward)
max_unpool_backward: Callable[..., Tensor] = _library.wrap(_UnpoolBackward)

RULES: tuple[Any, ...] = (_Forward, _Backward, _Gather, _UnpoolForward, _UnpoolBackward)
