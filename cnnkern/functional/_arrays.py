"""NumPy and CuPy arrays in, the same kind out: handed over by DLPack, without a copy."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function


def accept_arrays(module: str, names: list[str]) -> None:
    """Lets a module's functions take arrays where no tensor is among the arguments."""
    for name in names:
        function = getattr(sys.modules[module], name)
        wrapped = _accepting_arrays(function)
        # In both places one object, so that it can be pickled.
        for place in (module, function.__module__):
            setattr(sys.modules[place], name, wrapped)


def _accepting_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            return function(*args, **kwargs)
        given = (*args, *kwargs.values())
        if has_torch_function(given):  # torch.fx, whose proxies stand for tensors
            return handle_torch_function(call, given, *args, **kwargs)
        if any(isinstance(value, Tensor) for value in given) or not any(map(_is_array, given)):
            return function(*args, **kwargs)
        return _call_with_arrays(function, args, kwargs)

    return call


def _is_array(value: Any) -> bool:
    return hasattr(value, "__dlpack__")


def _call_with_arrays(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    arrays = {name: value for name, value in given.items() if _is_array(value)}
    tensors = {name: _tensor(function.__name__, name, array) for name, array in arrays.items()}
    # The package that the first array's class comes from: numpy, cupy.
    package = sys.modules[type(next(iter(arrays.values()))).__module__.partition(".")[0]]
    output = function(**{**given, **tensors})
    if isinstance(output, tuple):
        return tuple(package.from_dlpack(tensor) for tensor in output)
    return package.from_dlpack(output)


def _tensor(op: str, name: str, array: Any) -> Tensor:
    if not getattr(getattr(array, "flags", None), "writeable", True):
        raise ValueError(
            f"{op}: {name} is a read-only array, but a tensor's memory is writable; "
            f"pass {name}.copy()"
        )
    if any(stride < 0 for stride in getattr(array, "strides", None) or ()):
        raise ValueError(
            f"{op}: {name} is an array with negative strides {array.strides}, which tensors do not "
            f"have; pass {name}.copy()"
        )
    try:
        return torch.utils.dlpack.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        dtype = getattr(array, "dtype", "unknown")
        raise TypeError(
            f"{op}: {name} is an array of dtype {dtype}, which DLPack cannot hand over ({error}); "
            "convert it to float32, or pass tensors"
        ) from error
