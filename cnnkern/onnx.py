"""ONNX: how cnnkern's operators are written in a model that ``torch.onnx.export`` makes.

    torch.onnx.export(model, args, "model.onnx", dynamo=True,
                      custom_translation_table=cnnkern.onnx.translation_table())

Needs the extra ``cnnkern[onnx]``. A function below is one operator's translation: it takes the
operator's arguments, tensors as ONNX values and numbers as they are (an ONNX value each where a
size is dynamic). ``@_translates`` is all that adds it to the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from cnnkern import _ops

try:
    from onnxscript import opset18 as onnx
except ImportError as error:
    raise ImportError(
        f"cnnkern.onnx needs onnxscript ({error}): pip install cnnkern[onnx]"
    ) from error

Value = Any  # a tensor of the ONNX graph
_translations: dict[str, Callable[..., Any]] = {}


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """``custom_translation_table`` of :func:`torch.onnx.export`: every operator that ONNX has.

    Gradients have no counterpart in ONNX, but for the one that is a transposed convolution.
    """
    ops = torch.ops.cnnkern
    return {getattr(ops, name).default: function for name, function in _translations.items()}


def _translates(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the translation of the operator of that name."""
    assert any(rule.name == function.__name__ for rule in _ops.RULES), function.__name__
    _translations[function.__name__] = function
    return function


def _pads(padding: Sequence[int]) -> list[int]:
    """ONNX wants the begins of all axes, then the ends."""
    return [*padding[0::2], *padding[1::2]]


@_translates
def conv_forward(
    input: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Value:  # fmt: skip
    return onnx.Conv(
        input, weight, bias, strides=list(stride), pads=_pads(padding), dilations=list(dilation),
        group=groups,
    )  # fmt: skip


@_translates
def conv_input_grad(
    grad_output: Value, weight: Value, bias: Value | None, input_size: Sequence[Any],
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int,
) -> Value:  # fmt: skip
    """ConvTranspose, padded at the end as far as it may be, and cut to the size asked for.

    ConvTranspose has no input for a dynamic size; more padding only adds to the end.
    """
    largest = [max(step, gap) - 1 for step, gap in zip(stride, dilation)]
    output = onnx.ConvTranspose(
        grad_output, weight, bias, strides=list(stride), pads=_pads(padding),
        dilations=list(dilation), group=groups, output_padding=largest,
    )  # fmt: skip
    axes = list(range(2, 2 + len(stride)))
    one = onnx.Constant(value_ints=[-1])
    sizes = [
        onnx.Constant(value_ints=[size]) if isinstance(size, int) else onnx.Reshape(size, one)
        for size in input_size
    ]
    return onnx.Slice(
        output,
        onnx.Constant(value_ints=[0] * len(axes)),
        onnx.Concat(*sizes, axis=0),
        onnx.Constant(value_ints=axes),
    )


def _max_pool(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> tuple[Value, Value]:  # fmt: skip
    output, indices = onnx.MaxPool(
        input, kernel_shape=list(kernel_size), strides=list(stride), pads=[*padding, *padding],
        dilations=list(dilation), ceil_mode=int(ceil_mode),
    )  # fmt: skip
    return output, indices


@_translates
def max_pool_forward(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> tuple[Value, Value]:  # fmt: skip
    output, indices = _max_pool(input, kernel_size, stride, padding, dilation, ceil_mode)
    # ONNX counts through the whole tensor, torch through one plane.
    plane = onnx.ReduceProd(onnx.Shape(input, start=2), keepdims=0)
    return output, onnx.Mod(indices, plane)


@_translates
def max_pool_values(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> Value:  # fmt: skip
    return _max_pool(input, kernel_size, stride, padding, dilation, ceil_mode)[0]


@_translates
def avg_pool_forward(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool, count_include_pad: bool, divisor_override: int | None,
) -> Value:  # fmt: skip
    if ceil_mode or max(dilation) > 1:
        raise NotImplementedError(
            "onnx: AveragePool of opset 18 has no dilation, and its ceil_mode divides otherwise "
            "than torch's; pad the input instead"
        )
    # With another divisor every window is counted whole, and then scaled.
    output = onnx.AveragePool(
        input, kernel_shape=list(kernel_size), strides=list(stride), pads=[*padding, *padding],
        count_include_pad=int(count_include_pad or divisor_override is not None),
    )  # fmt: skip
    if divisor_override is None:
        return output
    scale = onnx.Constant(value_float=math.prod(kernel_size) / divisor_override)
    return onnx.Mul(output, onnx.CastLike(scale, output))


@_translates
def adaptive_avg_pool_forward(input: Value, output_size: Sequence[int]) -> Value:
    """One matrix an axis, the windows' weights; ONNX has the case of one window by itself."""
    if all(size == 1 for size in output_size):
        return onnx.GlobalAveragePool(input)
    sizes = list(input.shape)[2:]
    if not all(isinstance(size, int) for size in [*sizes, *output_size]):
        raise NotImplementedError(
            f"onnx: adaptive_avg_pool to {list(output_size)} needs an input of fixed size, but got "
            f"{sizes}; export without dynamic sizes, or pool to size 1"
        )
    order = [0, 1, *range(3, 2 + len(sizes)), 2]  # turns the axes; after all of them they are back
    for size, windows in zip(sizes, output_size):
        weights = _ops.adaptive_avg_pool_forward(
            torch.ops.cnnkern, torch.eye(size).unsqueeze(0), [windows]
        )[0]
        matrix = onnx.Constant(value_floats=weights.flatten().tolist())
        matrix = onnx.Reshape(matrix, onnx.Constant(value_ints=[size, windows]))
        input = onnx.MatMul(onnx.Transpose(input, perm=order), onnx.CastLike(matrix, input))
    return input


@_translates
def fold(
    input: Value, output_size: Sequence[int], kernel_size: Sequence[int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int],
) -> Value:  # fmt: skip
    return onnx.Col2Im(
        input,
        onnx.Constant(value_ints=list(output_size)),
        onnx.Constant(value_ints=list(kernel_size)),
        strides=list(stride), pads=[*padding, *padding], dilations=list(dilation),
    )  # fmt: skip
