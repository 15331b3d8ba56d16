"""Unfold and fold: linear, and each other's derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from cnnkern import _library
from cnnkern._ops._common import Dims, Ints, empty, into_batch
from cnnkern._shapes import unfold as _shapes


class _Unfold:
    name, tensors = "unfold", 1

    @staticmethod
    def fake(x: Tensor, *p: Any) -> Tensor:
        return empty(x, _shapes.unfold_output(x, *p))

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *ctx.p = inputs
        ctx.size = x.shape[2:]
        ctx.save_for_backward()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor]:
        return (fold(ctx.ops, grad, ctx.size, *ctx.p),)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> Tensor:
        return unfold(ctx.ops, dx, *ctx.p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        x, *p = args
        return unfold(ops, into_batch(x, dims[0], size), *p).unflatten(0, (size, -1)), 0


class _Fold:
    name, tensors = "fold", 1

    @staticmethod
    def fake(columns: Tensor, size: Ints, *p: Any) -> Tensor:
        return empty(columns, _shapes.fold_output(columns, size, *p))

    @staticmethod
    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *ctx.p = inputs
        ctx.save_for_backward()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor]:
        return (unfold(ctx.ops, grad, *ctx.p[1:]),)

    @staticmethod
    def jvp(ctx: Any, dcolumns: Tensor) -> Tensor:
        return fold(ctx.ops, dcolumns, *ctx.p)

    @staticmethod
    def vmap(ops: Any, size: int, dims: Dims, args: Sequence[Any]) -> tuple[Tensor, int]:
        columns, *p = args
        return fold(ops, into_batch(columns, dims[0], size), *p).unflatten(0, (size, -1)), 0


unfold: Callable[..., Tensor] = _library.wrap(_Unfold)
fold: Callable[..., Tensor] = _library.wrap(_Fold)

RULES: tuple[Any, ...] = (_Unfold, _Fold)
