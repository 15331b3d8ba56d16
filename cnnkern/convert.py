"""Puts existing models on cnnkern's kernels: ``convert`` for layers, ``enabled`` for calls.

``convert`` changes nothing but each layer's class, so parameters, buffers, hooks, train/eval mode
and every other attribute stay the very same objects. A subclass with code of its own keeps that
code and runs it inside ``enabled()``.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from cnnkern import functional, nn
from cnnkern.functional.max_unpooling import unpool_to

Model = TypeVar("Model", bound=torch.nn.Module)

OURS: dict[type, type] = {
    getattr(torch.nn, name): getattr(nn, name) for name in nn.__all__ if hasattr(torch.nn, name)
}
TORCHS: dict[type, type] = {ours: torchs for torchs, ours in OURS.items()}


# --------------------------------------------------------------------------------------------------
# enabled(): calls


def _convolution(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Any, padding: Any,
    dilation: Any, transposed: bool, output_padding: Any, groups: int,
) -> torch.Tensor:  # fmt: skip
    """:func:`torch.convolution`, whose weight tells how many dimensions there are."""
    name = f"conv_transpose{weight.dim() - 2}d" if transposed else f"conv{weight.dim() - 2}d"
    call = getattr(functional, name, None)
    if call is None:
        raise RuntimeError(
            f"convolution: expected weight of 3, 4 or 5 dimensions, but got {list(weight.shape)}"
        )
    extra = {"output_padding": output_padding} if transposed else {}
    output: torch.Tensor = call(
        input, weight, bias, stride, padding, dilation=dilation, groups=groups, **extra
    )
    return output


def _with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return pool(*args[:6], **{**kwargs, "return_indices": True})

    return call


def _returning_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's functions and bindings that return indices always are called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return pool(*args, **{**kwargs, "return_indices": True})

    return call


def _fractional(pool: Callable[..., Any]) -> Callable[..., Any]:
    """Of the binding, all of whose arguments are needed."""

    def call(input: torch.Tensor, kernel_size: Any, output_size: Any, random_samples: Any) -> Any:
        return pool(input, kernel_size, output_size, None, True, random_samples)

    return call


def _unpool(dims: int) -> Callable[..., Any]:
    """Of the binding, which is told the output's size; stride and padding say nothing more."""

    def call(
        input: torch.Tensor, indices: torch.Tensor, output_size: Any, stride: Any = None,
        padding: Any = None,
    ) -> torch.Tensor:  # fmt: skip
        return unpool_to(f"max_unpool{dims}d", dims, input, indices, output_size)

    return call


def _window_pools(dims: int) -> dict[Any, Callable[..., Any]]:
    """Adaptive and fractional max pooling and unpooling."""
    ours, torchs, bindings = functional, torch.nn.functional, torch._C._nn
    adaptive, unpool = f"adaptive_max_pool{dims}d", f"max_unpool{dims}d"
    always = _returning_indices(getattr(ours, adaptive))
    table: dict[Any, Callable[..., Any]] = {
        getattr(torchs, adaptive): getattr(ours, adaptive),
        getattr(torchs, f"{adaptive}_with_indices"): always,
        getattr(torch if dims == 1 else bindings, adaptive): always,
        getattr(torchs, unpool): getattr(ours, unpool),
    }
    if dims > 1:
        name = f"fractional_max_pool{dims}d"
        pool = getattr(ours, name)
        table[getattr(torchs, name)] = pool
        table[getattr(torchs, f"{name}_with_indices")] = _returning_indices(pool)
        table[getattr(bindings, name)] = _fractional(pool)
        table[getattr(bindings, unpool)] = _unpool(dims)
    return table


def _replacements() -> dict[Any, Callable[..., Any]]:
    """torch's functions, under each of their names, and what serves them."""
    table: dict[Any, Callable[..., Any]] = {torch.convolution: _convolution}
    for dims in (1, 2, 3):
        for name in (f"conv{dims}d", f"conv_transpose{dims}d", f"max_pool{dims}d"):
            for module in (torch, torch.nn.functional):
                table[getattr(module, name)] = getattr(functional, name)
        for name in (f"avg_pool{dims}d", f"adaptive_avg_pool{dims}d", f"lp_pool{dims}d"):
            for module in (torch, torch._C._nn, torch.nn.functional):
                if found := getattr(module, name, None):
                    table[found] = getattr(functional, name)
        table |= _window_pools(dims)
        pool = _with_indices(getattr(functional, f"max_pool{dims}d"))
        for module in (torch, torch._C._nn, torch.nn.functional):
            if found := getattr(module, f"max_pool{dims}d_with_indices", None):
                table[found] = pool
    for name, other in (("unfold", "im2col"), ("fold", "col2im")):
        for found in (getattr(torch.nn.functional, name), getattr(torch._C._nn, other)):
            table[found] = getattr(functional, name)
    return table


REPLACEMENTS = _replacements()


class enabled(TorchFunctionMode):
    """Inside, torch's convolutions, poolings, unfold and fold run on cnnkern's kernels.

    Serves ``conv1d/2d/3d``, ``conv_transpose1d/2d/3d``, ``max_pool1d/2d/3d``,
    ``max_pool1d/2d/3d_with_indices``, ``avg_pool1d/2d/3d``, ``adaptive_avg_pool1d/2d/3d``,
    ``adaptive_max_pool1d/2d/3d``, ``fractional_max_pool2d/3d``, ``max_unpool1d/2d/3d`` and
    ``lp_pool1d/2d/3d`` of ``torch`` and ``torch.nn.functional``, ``torch.convolution``, and
    ``unfold`` and ``fold`` of ``torch.nn.functional``. Everything else is untouched. There is no
    silent way back to torch: what cnnkern does not take (bool tensors in a convolution, say, as in
    torch, and integers on a GPU) raises.

    >>> x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    >>> with enabled():
    ...     torch.nn.functional.conv2d(x, w).item()
    9.0
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


# --------------------------------------------------------------------------------------------------
# convert(): layers


def convert(model: Model, inplace: bool = False) -> Model:
    """The model with its convolution, pooling, unfold and fold layers on cnnkern's kernels.

    Args:
        model: any module; it may itself be such a layer, or a lazy one.
        inplace: changes the model itself; else a deep copy is changed and returned.

    Raises:
        ValueError: a lazy layer of a class of the user's own has no shapes yet; the message names
            it. (torch's would lose that class with the first batch.)

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    >>> type(convert(net)[0])
    <class 'cnnkern.nn.convolution.Conv2d'>
    """
    for name, module in model.named_modules():
        lazy = isinstance(module, LazyModuleMixin) and isinstance(module, tuple(OURS))
        if lazy and type(module) not in OURS and type(module) not in TORCHS:
            raise ValueError(
                f"convert: layer {name!r} is a {type(module).__name__} without shapes; "
                "run one batch through the model first"
            )
    return _change_classes(model, inplace, OURS, _running_enabled)


def revert(model: Model, inplace: bool = False) -> Model:
    """Undoes :func:`convert`: the layers are torch's again, with the same parameters.

    >>> type(revert(convert(torch.nn.MaxPool2d(2))))
    <class 'torch.nn.modules.pooling.MaxPool2d'>
    """
    return _change_classes(model, inplace, TORCHS, lambda cls: getattr(cls, "_cnnkern_of", cls))


def _change_classes(
    model: Model, inplace: bool, exact: dict[type, type], other: Callable[[type], type]
) -> Model:
    if not inplace:
        model = copy.deepcopy(model)
    for module in model.modules():
        cls = type(module)
        if cls in exact:
            module.__class__ = exact[cls]
        elif parametrize.is_parametrized(module) and cls.__bases__[0] in exact:
            module.__class__ = _with_base(cls, exact[cls.__bases__[0]])
        elif isinstance(module, tuple(OURS)) and not isinstance(module, tuple(TORCHS)):
            module.__class__ = other(cls)
    return model


def _with_base(parametrized: type, base: type) -> type:
    """``torch.nn.utils.parametrize`` gives each layer a class of its own: the same on our base."""
    body = {k: v for k, v in vars(parametrized).items() if k not in ("__dict__", "__weakref__")}
    return type(parametrized.__name__, (base,), body)


@functools.cache
def _running_enabled(cls: Any) -> Any:
    """A subclass of a user's layer that calls the user's forward inside ``enabled()``."""
    if hasattr(cls, "_cnnkern_of"):
        return cls

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with enabled():
            return cls.forward(self, *args, **kwargs)

    def reduce(self: Any, protocol: Any) -> Any:
        # Copies and pickles by the user's class: this one has no importable name.
        return _rebuild, (cls,), self.__getstate__()

    body = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "_cnnkern_of": cls,
        "forward": forward,
        "__reduce_ex__": reduce,
    }
    return type(cls)(cls.__name__, (cls,), body)


def _rebuild(cls: Any) -> Any:
    converted = _running_enabled(cls)
    return converted.__new__(converted)
