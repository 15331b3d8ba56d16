"""What the functions share: checks of arguments, one value per spatial dimension, batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

IntOrInts = int | Sequence[int]
SizeOrSizes = int | None | Sequence[int | None]  # None: the input's own size
INTS = (int, torch.SymInt, numpy.integer)
_LARGEST = 2**62
_PLAIN = (Tensor, torch.nn.Parameter)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
COMPLEX = (torch.complex32, torch.complex64, torch.complex128)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_tensor(op: str, name: str, position: int, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{op}(): argument '{name}' (position {position}) must be Tensor, "
            f"not {type(value).__name__}"
        )
    if value.layout is not torch.strided or value.is_nested or type(value) not in _PLAIN:
        _check_dense(op, name, value)


def _check_dense(op: str, name: str, value: Any) -> None:
    """Refuses what has no dense memory of its own; other subclasses of Tensor pass."""
    if value.is_nested:
        kind, way = "nested", "torch.nested.to_padded_tensor() or one call for each of .unbind()"
    elif value.layout is not torch.strided:
        kind, way = str(value.layout).removeprefix("torch._").removeprefix("torch."), ".to_dense()"
    elif hasattr(value, "to_local"):
        kind, way = "DTensor", ".to_local()"
    else:
        return
    raise NotImplementedError(
        f"{op}: Could not run with {name} of layout {kind}: a dense (strided) tensor is expected; "
        f"use {way}"
    )


def check_input(op: str, input: Any, dtypes: Sequence[torch.dtype] = FLOATS + INTEGERS) -> None:
    check_tensor(op, "input", 1, input)
    if input.dtype not in dtypes:
        *names, last = [str(dtype)[6:] for dtype in dtypes]
        raise NotImplementedError(
            f"{op}: input has dtype {str(input.dtype)[6:]}, but {', '.join(names)} or {last} is "
            f"expected: {op} is not implemented for '{_torchs_name(input.dtype)}'; convert it with "
            ".to()"
        )


_TORCHS_NAMES = {
    torch.bool: "Bool", torch.uint8: "Byte", torch.int8: "Char", torch.int16: "Short",
    torch.int32: "Int", torch.int64: "Long", torch.complex32: "ComplexHalf",
    torch.complex64: "ComplexFloat", torch.complex128: "ComplexDouble",
}  # fmt: skip


def _torchs_name(dtype: torch.dtype) -> str:
    return _TORCHS_NAMES.get(dtype, str(dtype)[6:].replace("uint", "UInt"))


def check_floating(op: str, input: Any, *others: torch.dtype) -> None:
    """For what torch, too, has for floating-point numbers only, or for few other dtypes."""
    check_tensor(op, "input", 1, input)
    if input.dtype not in FLOATS and input.dtype not in others:
        raise NotImplementedError(
            f"{op}: \"{op}\" not implemented for '{_torchs_name(input.dtype)}': float32, float64, "
            "float16 or bfloat16 is expected; convert it with .to()"
        )


def float32_under_autocast(tensor: Tensor) -> Tensor:
    """For what torch's autocast computes in float32 on a CPU."""
    if tensor.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    return tensor


def check_range(op: str, name: str, values: Sequence[Any]) -> None:
    if any(isinstance(value, int) and abs(value) >= _LARGEST for value in values):
        raise RuntimeError(f"{op}: integer overflow: {name} is {list(values)}; use smaller values")


def expand(op: str, name: str, value: Any, dims: int) -> tuple[int, ...]:
    """One int per spatial dimension, from one int or a sequence of them."""
    # The usual cases first: these checks run in every call.
    if type(value) is int and -_LARGEST < value < _LARGEST:
        return (value,) * dims
    if type(value) is tuple and len(value) == dims:
        for entry in value:
            if type(entry) is not int or not -_LARGEST < entry < _LARGEST:
                break
        else:
            return value
    values = (value,) if isinstance(value, INTS) else value
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(
            f"{op}(): argument '{name}' must be int or tuple of ints, not {type(value).__name__}"
        )
    for entry in values:
        if isinstance(entry, bool) or not isinstance(entry, INTS):
            raise TypeError(
                f"{op}(): argument '{name}' must be tuple of ints, but found an element of type "
                f"{type(entry).__name__}"
            )
    check_range(op, name, values)
    if len(values) == 1:
        return (plain(values[0]),) * dims
    if len(values) != dims:
        raise RuntimeError(
            f"{op}: expected {name} to be a single integer value or a list of {dims} values to "
            f"match the dimensions of the input, but got {name}={list(values)}"
        )
    return tuple(plain(entry) for entry in values)


def strides(op: str, stride: Any, window: tuple[int, ...], dims: int) -> tuple[int, ...]:
    """A pooling's, which are the window's where none are given."""
    if stride is None or (isinstance(stride, Sequence) and len(stride) == 0):
        return window
    return expand(op, "stride", stride, dims)


def output_sizes(op: str, values: Sequence[Any], input: Tensor, dims: int) -> tuple[int, ...]:
    """An adaptive pooling's: one for each spatial dimension, None stands for the input's."""
    sizes = zip(values, input.shape[-dims:])
    result = tuple(size if value is None else value for value, size in sizes)
    check_range(op, "output_size", result)
    return expand(op, "output_size", result, dims)


def plain(value: Any) -> Any:
    """A Python int for NumPy's, whose kind torch takes too; symbolic sizes stay."""
    return int(value) if isinstance(value, numpy.integer) else value


def batched(op: str, input: Tensor, dims: int) -> tuple[Tensor, bool]:
    """The input with a batch dimension, and whether it had one."""
    if input.dim() == dims + 2:
        return input, True
    if input.dim() == dims + 1:
        return input.unsqueeze(0), False
    raise RuntimeError(
        f"{op}: Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {op}, but got "
        f"input of size: {list(input.shape)}"
    )
