"""The operators as PyTorch citizens: fake kernels, autograd, vmap and autocast rules.

Convolution, its input gradient and its weight gradient are each other's derivatives, so three
operators give derivatives of every order. In eager mode the wrappers at the end of this file go
through an ``autograd.Function`` (``torch.func`` composes with it); while compiling they call the
registered operator itself (Dynamo traces it). Both follow the same rule, one class per operator;
``_library.py`` turns rules into functions and registrations.

``ops`` is an operator namespace: ``torch.ops.cnnkern``, or the emulator's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

from cnnkern import _C as _C  # loading it defines the operators
from cnnkern import _library, _shapes

Ints = Sequence[int]
Dims = Sequence[int | None]

# --------------------------------------------------------------------------------------------------
# Fake kernels: the shape, and the one rule for memory formats (csrc/torch/tensor_args.h)


def _empty(
    like: Tensor, size: Sequence[int], *formats: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Channels last if one of ``formats`` is stored so, else contiguous."""
    memory_format = torch.contiguous_format
    for tensor in formats:
        if tensor.dim() in (4, 5) and (found := suggest_memory_format(tensor)) != memory_format:
            memory_format = found
            break
    return torch.empty(
        tuple(size), dtype=dtype or like.dtype, device=like.device, memory_format=memory_format
    )


# --------------------------------------------------------------------------------------------------
# vmap: fold the mapped dimension into the batch, or into the groups where weights are mapped too


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension first; expanded where the tensor is not mapped."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _into_batch(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(size·N, C, *spatial)"""
    return _front(tensor, dim, size).flatten(0, 1)


def _into_channels(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(N, size·C, *spatial)"""
    return _front(tensor, dim, size).movedim(0, 1).flatten(1, 2)


def _conv_vmap(
    operator: Callable[..., Tensor], ops: Any, size: int, dims: Dims, args: Sequence[Any]
) -> tuple[Tensor, int]:
    """The rule of conv_forward and conv_input_grad: (tensor, weight, bias, *lists, groups)."""
    x, w, bias, *lists, groups = args
    if dims[1] is None:
        out = operator(ops, _into_batch(x, dims[0], size), w, None, *lists, groups)
        out = out.unflatten(0, (size, -1))
    else:
        weights = _front(w, dims[1], size).flatten(0, 1)
        out = operator(ops, _into_channels(x, dims[0], size), weights, None, *lists, groups * size)
        out = out.unflatten(1, (size, -1)).movedim(1, 0)
    if bias is not None:
        bias = _front(bias, dims[2], size)
        out = out + bias.reshape(size, 1, -1, *[1] * (out.dim() - 3))
    return out, 0


# --------------------------------------------------------------------------------------------------
# The rules: fake, setup (what to save), backward, jvp, vmap. Gradients and tangents belong to the
# operator's tensors, in order; a tangent is None where nothing varies.


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


def _broadcast_bias(bias: Tensor | None, shape: Ints) -> Tensor | None:
    return None if bias is None else bias.reshape(-1, *[1] * (len(shape) - 2)).expand(*shape)


class _ConvForward:
    name, tensors = "conv_forward", 3

    @staticmethod
    def fake(x: Tensor, w: Tensor, bias: Tensor | None, *p: Any) -> Tensor:
        size = _shapes.conv_output(x, w, bias, *p)
        return _empty(x, (x.shape[0], w.shape[0], *size), x, w)

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


class _ConvInputGrad:
    name, tensors = "conv_input_grad", 3

    @staticmethod
    def fake(dy: Tensor, w: Tensor, bias: Tensor | None, size: Ints, *p: Any) -> Tensor:
        _shapes.check_input_grad(dy, w, bias, size, *p)
        return _empty(dy, (dy.shape[0], w.shape[1] * p[-1], *size), dy, w)

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


class _ConvWeightGrad:
    name, tensors = "conv_weight_grad", 2

    @staticmethod
    def fake(dy: Tensor, x: Tensor, size: Ints, *p: Any) -> Tensor:
        _shapes.check_weight_grad(dy, x, size, *p)
        return _empty(x, (dy.shape[1], x.shape[1] // p[-1], *size), dy, x)

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
        dy, x = _into_channels(dy, dims[0], size), _into_channels(x, dims[1], size)
        out = conv_weight_grad(ops, dy, x, *lists, groups * size)
        return out.unflatten(0, (size, -1)), 0


class _ConvBiasGrad:
    name, tensors = "conv_bias_grad", 1

    @staticmethod
    def fake(dy: Tensor) -> Tensor:
        return _empty(dy, (dy.shape[1],))

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
        out = conv_bias_grad(ops, _into_channels(args[0], dims[0], size))
        return out.unflatten(0, (size, -1)), 0


class _MaxPoolForward:
    name, tensors = "max_pool_forward", 1

    @staticmethod
    def fake(x: Tensor, *p: Any) -> tuple[Tensor, Tensor]:
        size = (*x.shape[:2], *_shapes.pool_output(x, *p))
        return _empty(x, size, x), _empty(x, size, x, dtype=torch.int64)

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
        x, *p = args
        out, indices = max_pool_forward(ops, _into_batch(x, dims[0], size), *p)
        return (out.unflatten(0, (size, -1)), indices.unflatten(0, (size, -1))), (0, 0)


class _MaxPoolBackward:
    name, tensors = "max_pool_backward", 2

    @staticmethod
    def fake(dy: Tensor, indices: Tensor, size: Ints, *p: Any) -> Tensor:
        return _empty(dy, (*dy.shape[:2], *size), dy, indices)

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
        dy, indices = _into_batch(dy, dims[0], size), _into_batch(indices, dims[1], size)
        return max_pool_backward(ops, dy, indices, *p).unflatten(0, (size, -1)), 0


class _MaxPoolGather:
    name, tensors = "max_pool_gather", 2

    @staticmethod
    def fake(x: Tensor, indices: Tensor, *p: Any) -> Tensor:
        return _empty(x, indices.shape, x, indices)

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
        x, indices = _into_batch(x, dims[0], size), _into_batch(indices, dims[1], size)
        return max_pool_gather(ops, x, indices, *p).unflatten(0, (size, -1)), 0


RULES: tuple[Any, ...] = (
    _ConvForward,
    _ConvInputGrad,
    _ConvWeightGrad,
    _ConvBiasGrad,
    _MaxPoolForward,
    _MaxPoolBackward,
    _MaxPoolGather,
)
_library.register("cnnkern", RULES)


def register_emulator() -> None:
    """Gives the emulator's operators (its library must be loaded) the same rules, once."""
    _library.register("cnnkern_emulator", RULES)


# --------------------------------------------------------------------------------------------------
# The wrappers: what the rest of the package calls

conv_forward: Callable[..., Tensor] = _library.wrap(_ConvForward)
conv_input_grad: Callable[..., Tensor] = _library.wrap(_ConvInputGrad)
conv_weight_grad: Callable[..., Tensor] = _library.wrap(_ConvWeightGrad)
conv_bias_grad: Callable[..., Tensor] = _library.wrap(_ConvBiasGrad)
max_pool_forward: Callable[..., tuple[Tensor, Tensor]] = _library.wrap(_MaxPoolForward)
max_pool_backward: Callable[..., Tensor] = _library.wrap(_MaxPoolBackward)
max_pool_gather: Callable[..., Tensor] = _library.wrap(_MaxPoolGather)
