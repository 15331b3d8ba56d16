"""Problem strings and tensors: what a line means, its inputs, and the calls that compute it.

A problem string such as ``n8c64h56w56k64r3s3p1 f16 nhwc dgrad`` names one convolution, pooling,
unfold or fold in one direction; ``csrc/common/problem_string.h`` has the grammar. Tests, benchmarks
and ``explain`` all speak it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnkern import _C, _ops, backends
from cnnkern.functional import convolution
from cnnkern.nn import ConvBlock

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
}
_OPTIONS = {
    torch.float32: "",
    torch.float64: " f64",
    torch.float16: " f16",
    torch.bfloat16: " bf16",
    torch.uint8: " u8",
    torch.int8: " i8",
    torch.int16: " i16",
    torch.int32: " i32",
    torch.int64: " i64",
}


@dataclass(frozen=True)
class Problem:
    """One parsed problem. Tuples hold one entry for each spatial dimension, outermost first.

    ``padding`` holds two: begin and end of each axis. ``direction`` is fprop, dgrad or wgrad for a
    convolution, forward or backward for a pooling, unpool, unfold or fold. ``operation`` is the
    name under which the kernel table has it: conv, max_pool, avg_pool, window_pool (adaptive and
    fractional max pooling and unpooling) or unfold (and fold); an adaptive pooling's ``kernel`` is
    its output. The output of unfold and fold is the columns (N, C·R·S, P·Q) as (N, C·R·S, P, Q).

    >>> problem = Problem.parse("conv1 n16c3h32w32k10r5s5p2")
    >>> problem.weight_shape, problem.output_shape
    ((10, 3, 5, 5), (16, 10, 32, 32))
    """

    text: str
    name: str
    multiplicity: int
    is_pool: bool
    operation: str
    direction: str
    dtype: torch.dtype
    channels_last: bool
    n: int
    c: int
    k: int
    groups: int
    input: tuple[int, ...]
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool
    indices: bool
    offsets: bool
    adaptive: bool
    fractional: bool
    count_include_pad: bool
    divisor: int | None
    activation: str | None
    residual: bool
    preactivation: bool
    tf32: bool

    @classmethod
    def parse(cls, text: str) -> Problem:
        """Raises ValueError or RuntimeError with one sentence naming what is wrong."""
        row = _C.parse_problem(text)
        pool = row["is_pool"]
        begin, end = (row["padding"],) * 2 if pool else (row["pad_begin"], row["pad_end"])
        dtype = DTYPES[row["dtype"]]
        return cls(
            text=row["text"],
            name=row["name"],
            multiplicity=row["multiplicity"],
            is_pool=pool,
            operation=row["operation"],
            direction=row["direction"],
            dtype=dtype.to_complex() if row.get("complex") else dtype,
            channels_last=row["layout"] == "nhwc",
            n=row["n"],
            c=row["c"],
            k=row.get("rows", row["c"]) if pool else row["k"],
            groups=1 if pool else row["groups"],
            input=row["input"],
            kernel=row["kernel"],
            output=row["output"],
            stride=row["stride"],
            padding=tuple(side for pair in zip(begin, end, strict=True) for side in pair),
            dilation=row["dilation"],
            ceil_mode=pool and row["ceil_mode"],
            indices=row.get("indices", True),
            offsets=row.get("offsets", False),
            adaptive=row.get("adaptive", False),
            fractional=row.get("fractional", False),
            count_include_pad=row.get("count_include_pad", True),
            divisor=row.get("divisor") or None,
            activation=None if pool or row["activation"] == "none" else row["activation"],
            residual=not pool and row["residual"],
            preactivation=not pool and row["preactivation"],
            tf32=not pool and row["tf32"],
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(N, C, *input)"""
        return (self.n, self.c, *self.input)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(K, C/groups, *kernel)"""
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(N, K, *output)"""
        return (self.n, self.k, *self.output)

    @property
    def fused(self) -> bool:
        """Whether it is a forward convolution with more than a bias."""
        return self.activation is not None or self.residual or self.preactivation

    def tensor(self, values: Tensor) -> Tensor:
        """The values in the problem's dtype and memory format (1-d tensors have only one).

        A copy: contiguous() leaves the strides of single pixels, which lie both ways, as they are.
        """
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        chosen = formats.get(values.dim()) if self.channels_last else None
        layout = chosen or torch.contiguous_format
        return torch.empty_like(values, dtype=self.dtype, memory_format=layout).copy_(values)


def read(path: str | Path) -> Iterator[str]:
    """The problem strings of a file: one a line; ``#`` starts a comment."""
    for line in Path(path).read_text().splitlines():
        if text := line.partition("#")[0].strip():
            yield text


def run(problem: Problem, ops: Any, *tensors: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """Computes the problem with the operators of a namespace (``torch.ops.cnnkern``).

    ``tensors`` by direction: fprop (input, weight), dgrad (grad_output, weight), wgrad
    (grad_output, input), each of the first two optionally with a bias, and fprop with the residual
    that the problem has after it; forward (input), backward (grad_output, indices), unpool (input,
    indices), the first two with the samples (N, C, one for each axis) of a fractional pooling;
    unfold (image), fold (columns, in any shape of theirs).

    Whether float32 may be rounded to tf32 the problem says in the emulator, and on CUDA PyTorch's
    setting.
    """
    if problem.tf32 and ops is torch.ops.cnnkern_emulator:
        with backends.emulated_tf32():
            return _run(problem, ops, *tensors)
    return _run(problem, ops, *tensors)


def _run(problem: Problem, ops: Any, *tensors: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    window = (problem.stride, problem.padding, problem.dilation)
    if problem.operation == "avg_pool":
        return _run_avg_pool(problem, ops, *tensors)
    if problem.operation == "window_pool":
        return _run_window_pool(problem, ops, *tensors)
    if problem.operation == "unfold":
        return _run_unfold(problem, ops, *tensors)
    if problem.is_pool:
        pool = (problem.kernel, problem.stride, problem.padding[::2], problem.dilation)
        if problem.direction == "forward":
            forward = (
                _ops.max_pool_offsets if problem.offsets
                else _ops.max_pool_forward if problem.indices
                else _ops.max_pool_values
            )  # fmt: skip
            return forward(ops, *tensors, *pool, problem.ceil_mode)
        return _ops.max_pool_backward(ops, *tensors, problem.input, *pool, problem.ceil_mode)
    if problem.direction == "wgrad":
        return _ops.conv_weight_grad(ops, *tensors, problem.kernel, *window, problem.groups)
    first, weight, bias, residual = (*tensors, None, None)[:4]
    if problem.fused:
        tail = (problem.groups, problem.activation, problem.preactivation, None)
        found = _ops.conv_bias_act(ops, first, weight, bias, residual, *window, *tail)
        return found if problem.preactivation else found[0]
    if problem.direction == "fprop":
        return _ops.conv_forward(ops, first, weight, bias, *window, problem.groups)
    return _ops.conv_input_grad(ops, first, weight, bias, problem.input, *window, problem.groups)


def _run_avg_pool(problem: Problem, ops: Any, tensor: Tensor) -> Tensor:
    forward = problem.direction == "forward"
    if problem.adaptive and forward:
        return _ops.adaptive_avg_pool_forward(ops, tensor, problem.output)
    if problem.adaptive:
        return _ops.adaptive_avg_pool_backward(ops, tensor, problem.input)
    window = (
        problem.kernel, problem.stride, problem.padding[::2], problem.dilation, problem.ceil_mode,
        problem.count_include_pad, problem.divisor,
    )  # fmt: skip
    if forward:
        return _ops.avg_pool_forward(ops, tensor, *window)
    return _ops.avg_pool_backward(ops, tensor, problem.input, *window)


def _run_window_pool(
    problem: Problem, ops: Any, first: Tensor, *rest: Tensor
) -> Tensor | tuple[Tensor, Tensor]:
    if problem.direction == "unpool":
        return _ops.max_unpool_forward(ops, first, *rest, problem.input)
    *indices, samples = rest if problem.fractional else (*rest, None)
    kernel = problem.kernel if problem.fractional else ()
    if problem.direction == "forward":
        return _ops.window_max_pool_forward(ops, first, samples, kernel, problem.output)
    return _ops.window_max_pool_backward(ops, first, *indices, samples, problem.input, kernel)


def _run_unfold(problem: Problem, ops: Any, tensor: Tensor) -> Tensor:
    window = (problem.kernel, problem.stride, problem.padding[::2], problem.dilation)
    if problem.direction == "unfold":
        return _ops.unfold(ops, tensor, *window)
    columns = tensor.reshape(problem.n, problem.k, math.prod(problem.output))
    return _ops.fold(ops, columns, problem.input, *window)


# --------------------------------------------------------------------------------------------------
# From a layer to its problem string


def _axes(key: str, values: tuple[int, ...], default: int) -> str:
    names = "dhw"[-len(values) :]
    return "".join(f"{key}{axis}{value}" for axis, value in zip(names, values) if value != default)


def _sizes(shape: tuple[int, ...], kernel: tuple[int, ...], filters: int | None) -> str:
    dims = len(kernel)
    n, c, *spatial = shape
    text = f"n{n}c{c}" + "".join(f"{a}{v}" for a, v in zip("dhw"[-dims:], spatial))
    text += "" if filters is None else f"k{filters}"
    return text + "".join(f"{a}{v}" for a, v in zip("trs"[-dims:], kernel))


def _tuple(value: Any, dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _dtype_option(kind: str, dtype: torch.dtype) -> str:
    if dtype not in _OPTIONS:
        raise TypeError(
            f"{kind}: a problem of dtype {str(dtype)[6:]} has no string; a complex convolution "
            "runs as real ones: ask for the layer and input in their real dtype"
        )
    return _OPTIONS[dtype]


def of_layer(layer: torch.nn.Module, input: Tensor, direction: str = "fprop") -> str:
    """The problem string of one call: a layer of torch.nn or cnnkern.nn and its input.

    Args:
        layer: Conv1d/2d/3d, ConvBlock1d/2d/3d (without a residual), ConvTranspose1d/2d/3d,
            MaxPool1d/2d/3d, AvgPool1d/2d/3d, AdaptiveAvgPool1d/2d/3d, AdaptiveMaxPool1d/2d/3d,
            Unfold or Fold.
        input: batched or not; only shape, dtype and memory format matter.
        direction: ``fprop``, ``dgrad`` or ``wgrad`` of the layer's own forward (a pooling has no
            wgrad). A transposed layer's forward is its convolution's dgrad; unfold's dgrad is fold.
            A max pooling is that of a training step.

    >>> of_layer(torch.nn.Conv2d(3, 10, 5, padding=2), torch.zeros(1, 3, 32, 32))
    'n1c3h32w32k10r5s5p2'
    """
    module: Any = layer
    kinds = ("Conv", "ConvTranspose", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool")
    names = (c.__name__ for c in type(layer).__mro__ if c.__module__.startswith("torch.nn"))
    kind = next((name for name in names if name.rstrip("123d") in kinds), None)
    unfolds = isinstance(layer, torch.nn.Unfold | torch.nn.Fold)
    if kind is None and not unfolds:
        raise TypeError(
            "expected a Conv, ConvTranspose, MaxPool or AvgPool layer, 1-d to 3-d, Unfold or Fold, "
            f"but got {type(layer).__name__}"
        )
    if direction not in ("fprop", "dgrad", "wgrad"):
        raise ValueError(f"direction is {direction!r}, but fprop, dgrad or wgrad is expected")
    if direction == "wgrad" and (kind is None or "Pool" in kind):
        raise ValueError(f"{kind or 'unfold'} has no weights and so no wgrad")
    if kind is None:
        return _of_unfold(module, input, direction)
    dims = int(kind[-2])
    x = input if input.dim() == dims + 2 else input.unsqueeze(0)
    if x.dim() != dims + 2:
        raise RuntimeError(f"{kind}: expected {dims + 1}D or {dims + 2}D input, got {input.dim()}D")
    options = _dtype_option(kind, x.dtype)
    if x.dim() > 3 and not x.is_contiguous() and _is_channels_last(x):
        options += " nhwc"
    if "AvgPool" in kind or "Adaptive" in kind:
        return _of_avg_pool(module, x, dims, options, "" if direction == "fprop" else "_backward")
    stride, dilation = _tuple(module.stride, dims), _tuple(module.dilation, dims)
    kernel = _tuple(module.kernel_size, dims)
    window = _axes("u", stride, 1) + _axes("l", dilation, 1)
    if kind.startswith("MaxPool"):
        options += " maxpool" if direction == "fprop" else " maxpool_backward"
        differentiable = x.is_floating_point() and not module.return_indices
        options += " offsets" if differentiable and math.prod(kernel) <= _ops.OFFSET_TAPS else ""
        options += " ceil" if module.ceil_mode else ""
        text = _sizes(tuple(x.shape), kernel, None) + window
        return _canonical(text + _axes("p", _tuple(module.padding, dims), 0) + options)
    groups = f"g{module.groups}" if module.groups > 1 else ""
    if kind.startswith("ConvTranspose"):
        return _of_transposed(module, x, direction, dims, groups + window, options)
    shape, padding = list(x.shape), module.padding
    if module.padding_mode != "zeros":  # padded by a copy, then convolved without padding
        sides = module._reversed_padding_repeated_twice[::-1]
        shape[2:] = [sum(axis) for axis in zip(shape[2:], sides[0::2], sides[1::2])]
        padding = 0
    text = _sizes(tuple(shape), kernel, module.out_channels) + groups + window
    sides = convolution.sides("conv", padding, dims, kernel, stride, dilation)
    keys = ["pf", "pk", "pt", "pb", "pl", "pr"][-2 * dims :]
    text += "".join(f"{key}{value}" for key, value in zip(keys, sides) if value)
    if direction != "fprop":
        options += f" {direction}"
    elif isinstance(layer, ConvBlock) and layer.activation is not None:
        options += f" {layer.activation}"
    return _canonical(text + options)


def _of_transposed(
    layer: Any, x: Tensor, direction: str, dims: int, window: str, options: str
) -> str:
    """The layer's input is its convolution's output, and the other way round."""
    size = [
        (size - 1) * step - 2 * pad + gap * (taps - 1) + extra + 1
        for size, step, pad, gap, taps, extra in zip(
            x.shape[2:], layer.stride, layer.padding, layer.dilation, layer.kernel_size,
            layer.output_padding,
        )
    ]  # fmt: skip
    shape = (x.shape[0], layer.out_channels, *size)
    text = _sizes(shape, layer.kernel_size, layer.in_channels) + window
    exchanged = {"fprop": "dgrad", "dgrad": "fprop", "wgrad": "wgrad"}[direction]
    return _canonical(f"{text}{_axes('p', layer.padding, 0)}{options} {exchanged}")


def _of_unfold(layer: Any, input: Tensor, direction: str) -> str:
    """Of Unfold or Fold; each is the other's gradient."""
    fold = isinstance(layer, torch.nn.Fold)
    dims = 3 if fold else 4
    x = input if input.dim() == dims else input.unsqueeze(0)
    if x.dim() != dims:
        raise RuntimeError(f"unfold: expected {dims - 1}D or {dims}D input, got {input.dim()}D")
    kernel, stride, padding, dilation = (
        _tuple(value, 2)
        for value in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    shape = tuple(x.shape)
    if fold:
        shape = (shape[0], shape[1] // math.prod(kernel), *_tuple(layer.output_size, 2))
    text = _sizes(shape, kernel, None)
    text += _axes("u", stride, 1) + _axes("p", padding, 0) + _axes("l", dilation, 1)
    text += _dtype_option("unfold", x.real.dtype) + (" complex" if x.is_complex() else "")
    return _canonical(f"{text} {'fold' if fold == (direction == 'fprop') else 'unfold'}")


def _of_avg_pool(layer: Any, x: Tensor, dims: int, options: str, direction: str) -> str:
    if hasattr(layer, "output_size"):
        sizes = layer.output_size if isinstance(layer.output_size, tuple) else [layer.output_size]
        output = [i if o is None else o for i, o in zip(x.shape[2:], [*sizes] * dims)]
        text = _sizes(tuple(x.shape), tuple(output), None)
        word = "maxpool" if hasattr(layer, "return_indices") else "avgpool"
        return _canonical(f"{text}{options} adaptive_{word}{direction}")
    kernel, stride, padding = (
        _tuple(value, dims) for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    text = _sizes(tuple(x.shape), kernel, None) + _axes("u", stride, 1) + _axes("p", padding, 0)
    text += f"{options} avgpool{direction}" + (" ceil" if layer.ceil_mode else "")
    text += "" if layer.count_include_pad else " exclude_pad"
    divisor = getattr(layer, "divisor_override", None)
    return _canonical(text + (f" divisor{divisor}" if divisor else ""))


def _is_channels_last(x: Tensor) -> bool:
    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return x.is_contiguous(memory_format=last)


def _canonical(text: str) -> str:
    return Problem.parse(text).text
