"""ONNX: how cnnkern's operators are written in a model that ``torch.onnx.export`` makes.

    torch.onnx.export(model, args, "model.onnx", dynamo=True,
                      custom_translation_table=cnnkern.onnx.translation_table())

Needs the extra ``cnnkern[onnx]``. A function below is one operator's translation: it takes the
operator's arguments, tensors as ONNX values and numbers as they are (an ONNX value each where a
size is dynamic). ``@_translates`` is all that adds it to the table.
"""

from __future__ import annotations

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


@_translates
def max_pool_forward(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], ceil_mode: bool,
) -> tuple[Value, Value]:  # fmt: skip
    output, indices = onnx.MaxPool(
        input, kernel_shape=list(kernel_size), strides=list(stride), pads=[*padding, *padding],
        dilations=list(dilation), ceil_mode=int(ceil_mode),
    )  # fmt: skip
    # ONNX counts through the whole tensor, torch through one plane.
    plane = onnx.ReduceProd(onnx.Shape(input, start=2), keepdims=0)
    return output, onnx.Mod(indices, plane)
