"""Max pooling with indices or window offsets, its backward, and the backward's derivative.

Indices are int64, as torch's; offsets are one byte a window, for nobody but the derivatives. The
backward and the gather take either: the tensor's dtype says which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cnnkern import _library
from cnnkern._ops._common import Dims, Ints, empty, into_batch
from cnnkern._shapes import max_pooling as _shapes
from cnnkern._shapes import require

OFFSET_TAPS = 255  # of a window whose taps one byte can number, beside "none"


def _fake_forward(dtype: torch.dtype, x: Tensor, *p: Any) -> tuple[Tensor, Tensor]:
    size = (*x.shape[:2], *_shapes.pool_output(x, *p))
    return empty(x, size, x), empty(x, size, x, dtype=dtype)


def _batched_forward(
    operator: Callable[..., Any], ops: Any, size: int, dims: Dims, args: Sequence[Any]
) -> tuple[Any, Any]:
    x, *p = args
    out, saved = operator(ops, into_batch(x, dims[0], size), *p)
    return (out.unflatten(0, (size, -1)), saved.unflatten(0, (size, -1))), (0, 0)


class _MaxPoolForward:
    name, tensors = "max_pool_forward", 1

    @staticmethod
    def fake(x: Tensor, *p: Any) -> tuple[Tensor, Tensor]:
        return _fake_forward(torch.int64, x, *p)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, *ctx.p = inputs
        ctx.size = x.shape[2:]
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else zeros for the indices' gradient are made each time
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,)
        (indices,) = ctx.saved_tensors
        return (max_pool_backward(ctx.ops, grad, indices, ctx.size, *ctx.p),)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        return max_pool_gather(ctx.ops, dx, indices, *ctx.p), None

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Any, Any]:
        return _batched_forward(max_pool_forward, ops, size, dims, args)


class _MaxPoolOffsets(_MaxPoolForward):
    """An eighth of the bytes that indices take from the forward to the backward pass."""

    name = "max_pool_offsets"

    @staticmethod
    def fake(x: Tensor, kernel: Ints, *p: Any) -> tuple[Tensor, Tensor]:
        require(
            math.prod(kernel) <= OFFSET_TAPS,
            f"max_pool: an offset is one byte and numbers at most {OFFSET_TAPS} taps, the window "
            "has more; use positions",
        )
        return _fake_forward(torch.uint8, x, kernel, *p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Any, Any]:
        return _batched_forward(max_pool_offsets, ops, size, dims, args)


def max_pool_saving(ops: Any, x: Tensor, kernel: Ints, *p: Any) -> tuple[Tensor, Tensor]:
    """The maxima, and where they were in the fewest bytes that a derivative needs."""
    fits = math.prod(kernel) <= OFFSET_TAPS
    return (max_pool_offsets if fits else max_pool_forward)(ops, x, kernel, *p)


class _MaxPoolValues:
    """Without indices; whoever differentiates it after all pays for them then."""

    name, tensors = "max_pool_values", 1

    @staticmethod
    def fake(x: Tensor, *p: Any) -> Tensor:
        return empty(x, (*x.shape[:2], *_shapes.pool_output(x, *p)), x)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *ctx.p = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        _, indices = max_pool_saving(ctx.ops, x, *ctx.p)
        return (max_pool_backward(ctx.ops, grad, indices, x.shape[2:], *ctx.p),)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        _, indices = max_pool_saving(ctx.ops, x, *ctx.p)
        return max_pool_gather(ctx.ops, dx, indices, *ctx.p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        x, *p = args
        return max_pool_values(ops, into_batch(x, dims[0], size), *p).unflatten(0, (size, -1)), 0


class _MaxPoolBackward:
    name, tensors = "max_pool_backward", 2

    @staticmethod
    def fake(dy: Tensor, indices: Tensor, size: Ints, *p: Any) -> Tensor:
        return empty(dy, (*dy.shape[:2], *size), dy, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, indices, ctx.size, *ctx.p = inputs
        ctx.save_for_backward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        return (max_pool_gather(ctx.ops, grad, indices, *ctx.p), None)

    @staticmethod
    def jvp(ctx: Any, ddy: Tensor, _: None) -> Tensor:
        (indices,) = ctx.saved_tensors
        return max_pool_backward(ctx.ops, ddy, indices, ctx.size, *ctx.p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        dy, indices, *p = args
        dy, indices = into_batch(dy, dims[0], size), into_batch(indices, dims[1], size)
        return max_pool_backward(ops, dy, indices, *p).unflatten(0, (size, -1)), 0


class _MaxPoolGather:
    name, tensors = "max_pool_gather", 2

    @staticmethod
    def fake(x: Tensor, indices: Tensor, *p: Any) -> Tensor:
        return empty(x, indices.shape, x, indices)

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, indices, *ctx.p = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward(indices)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (indices,) = ctx.saved_tensors
        return (max_pool_backward(ctx.ops, grad, indices, ctx.size, *ctx.p), None)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: None) -> Tensor:
        (indices,) = ctx.saved_tensors
        return max_pool_gather(ctx.ops, dx, indices, *ctx.p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        x, indices, *p = args
        x, indices = into_batch(x, dims[0], size), into_batch(indices, dims[1], size)
        return max_pool_gather(ops, x, indices, *p).unflatten(0, (size, -1)), 0


max_pool_forward: Callable[..., tuple[Tensor, Tensor]] = _library.wrap(_MaxPoolForward)
max_pool_offsets: Callable[..., tuple[Tensor, Tensor]] = _library.wrap(_MaxPoolOffsets)
max_pool_values: Callable[..., Tensor] = _library.wrap(_MaxPoolValues)
max_pool_backward: Callable[..., Tensor] = _library.wrap(_MaxPoolBackward)
max_pool_gather: Callable[..., Tensor] = _library.wrap(_MaxPoolGather)

RULES: tuple[Any, ...] = (
    _MaxPoolForward,
    _MaxPoolOffsets,
    _MaxPoolValues,
    _MaxPoolBackward,
    _MaxPoolGather,
)
