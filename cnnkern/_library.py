"""Turns the rules of ``_ops/`` into autograd functions and ``torch.library`` registrations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

_AUTOCAST_DEVICES = ("cpu", "cuda")
_AUTOCAST_KEYS = ("AutocastCPU", "AutocastCUDA")
_FUNCTORCH = torch._C.DispatchKey.FuncTorchDynamicLayerFrontMode
_CASTS = ("conv_forward", "conv_input_grad", "conv_bias_act")
CUDA_MISSING = (
    "cnnkern was built without CUDA kernels; get nvcc (pip install "
    "'cuda-toolkit[nvcc,cudart,crt,cccl,nvvm]==13.0.*', or set CUDA_HOME) and install cnnkern again"
)
_UNSERVED = ("MPS", "XPU")
_registered: dict[str, torch.library.Library] = {}


def autocast(tensors: Sequence[Any]) -> list[Any]:
    """Casts as torch's convolutions do under autocast: floats of its device, but never float64."""
    cast = []
    for tensor in tensors:
        if (
            isinstance(tensor, torch.Tensor)
            and tensor.is_floating_point()
            and tensor.dtype != torch.float64
            and tensor.device.type in _AUTOCAST_DEVICES
            and torch.is_autocast_enabled(tensor.device.type)
        ):
            tensor = tensor.to(torch.get_autocast_dtype(tensor.device.type))
        cast.append(tensor)
    return cast


def needs_function(tensors: Sequence[Any]) -> bool:
    """Whether a derivative or a transform of torch.func may be asked of this call."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def wrap(rule: Any) -> Callable[..., Any]:
    """``wrapper(ops, *inputs)``: differentiable in eager mode, under torch.func, and compiled."""
    apply, transformed = _eager_functions(rule)
    name, count, casts = rule.name, rule.tensors, rule.name in _CASTS

    def wrapper(ops: Any, *inputs: Any) -> Any:
        compiling = torch.compiler.is_compiling()
        if not compiling and torch._C._get_tracing_state() is not None:
            compiling, inputs = True, _constant_sizes(inputs)
        if casts and (compiling or torch._C._is_any_autocast_enabled()):
            inputs = (*autocast(inputs[:count]), *inputs[count:])
        if compiling:
            return getattr(ops, name)(*inputs)
        if needs_function(inputs[:count]):
            if torch._C._are_functorch_transforms_active():
                if torch._C._dispatch_tls_is_dispatch_key_excluded(_FUNCTORCH):
                    return getattr(ops, name)(*inputs)  # called by the operator's own vmap rule
                return transformed.apply(ops, *inputs)
            return apply(ops, *unwrap_dead_wrappers(inputs))
        # The kernel itself: the registered autograd rule costs more than a small convolution.
        with torch._C._AutoDispatchBelowAutograd():
            return getattr(ops, name).default(*inputs)

    wrapper.__name__ = name
    return wrapper


def _constant_sizes(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """``torch.jit.trace`` hands out sizes as tensors, which no list of an operator may hold."""
    return tuple(
        [int(size) for size in given] if isinstance(given, list | tuple) else given
        for given in inputs
    )


def _eager_functions(rule: Any) -> tuple[Callable[..., Any], Any]:
    """``apply`` for plain autograd, and the autograd.Function that torch.func's transforms need.

    Both take (ops, *inputs of the operator). A function with ``setup_context`` costs 20 µs more a
    call, and ``Function.apply`` 60 µs more than what it ends in, where no transform is active.
    """

    def forward(ops: Any, *inputs: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return getattr(ops, rule.name).default(*inputs)

    def setup_context(ctx: Any, arguments: tuple[Any, ...], output: Any) -> None:
        ctx.ops, *inputs = arguments
        ctx.needs = ctx.needs_input_grad[1:]
        ctx.count = len(inputs)
        rule.setup(ctx, inputs, output)
        ctx.save_for_forward(*ctx.to_save)

    def forward_and_setup(ctx: Any, *arguments: Any) -> Any:
        output = forward(*arguments)
        setup_context(ctx, arguments, output)
        return output

    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        found = rule.backward(ctx, *grads)
        return (None, *found, *[None] * (ctx.count - len(found)))

    def jvp(ctx: Any, _ops: None, *tangents: Any) -> Any:
        return rule.jvp(ctx, *tangents[: rule.tensors])

    def vmap(info: Any, in_dims: tuple[Any, ...], ops: Any, *inputs: Any) -> Any:
        return rule.vmap(ops, info.batch_size, in_dims[1:], inputs)

    def function(**body: Any) -> Any:
        body = {name: staticmethod(method) for name, method in body.items()}
        return type(f"cnnkern_{rule.name}", (torch.autograd.Function,), body)

    plain = function(forward=forward_and_setup, backward=backward, jvp=jvp)
    transformed = function(
        forward=forward, setup_context=setup_context, backward=backward, jvp=jvp, vmap=vmap
    )
    return super(torch.autograd.Function, plain).apply, transformed


def register(namespace: str, rules: Sequence[Any], cuda: bool) -> None:
    """Registers every rule with the operators of a namespace; does nothing the second time.

    ``cuda``: whether kernels for CUDA tensors were built.
    """
    if namespace in _registered:
        return
    library = torch.library.Library(namespace, "IMPL")
    _registered[namespace] = library
    ops = getattr(torch.ops, namespace)
    for rule in rules:
        qualified = f"{namespace}::{rule.name}"
        torch.library.register_fake(qualified, rule.fake)
        torch.library.register_autograd(
            qualified, _registered_backward(rule), setup_context=_registered_setup(rule, ops)
        )
        torch.library.register_vmap(qualified, _registered_vmap(rule, ops))
        if rule.name in _CASTS:
            for key in _AUTOCAST_KEYS:
                library.impl(rule.name, _autocast_kernel(rule, ops, key), key)
        for key in _UNSERVED:
            library.impl(rule.name, _unserved_kernel(rule.name, key), key)
        if not cuda:
            library.impl(rule.name, _missing_kernel, "CUDA")
        if hasattr(rule, "flops"):
            register_flop_formula(getattr(ops, rule.name))(rule.flops)


def _registered_setup(rule: Any, ops: Any) -> Callable[..., None]:
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.ops = ops
        ctx.needs = ctx.needs_input_grad
        ctx.count = len(inputs)
        rule.setup(ctx, inputs, output)

    return setup_context


def _registered_backward(rule: Any) -> Callable[..., tuple[Any, ...]]:
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        found = rule.backward(ctx, *grads)
        return (*found, *[None] * (ctx.count - len(found)))

    return backward


def _registered_vmap(rule: Any, ops: Any) -> Callable[..., Any]:
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Any:
        return rule.vmap(ops, info.batch_size, in_dims, inputs)

    return vmap


def _autocast_kernel(rule: Any, ops: Any, key: str) -> Callable[..., Any]:
    """Casts, then calls the operator again below autocast."""
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))

    def kernel(*inputs: Any) -> Any:
        inputs = (*autocast(inputs[: rule.tensors]), *inputs[rule.tensors :])
        with torch._C._ExcludeDispatchKeyGuard(keys):
            return getattr(ops, rule.name)(*inputs)

    return kernel


def _unserved_kernel(name: str, key: str) -> Callable[..., Any]:
    def kernel(*_: Any) -> Any:
        raise NotImplementedError(
            f"cnnkern: Could not run {name!r} with arguments from the {key!r} backend: tensors on "
            "a CPU or a CUDA device are expected; use .to('cpu'), or torch's own layer"
        )

    return kernel


def _missing_kernel(*_: Any) -> Any:
    raise RuntimeError(CUDA_MISSING)
