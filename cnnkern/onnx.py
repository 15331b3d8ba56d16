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


def _gelu(x: Value) -> Value:
    half, root = (onnx.CastLike(onnx.Constant(value_float=v), x) for v in (0.5, math.sqrt(0.5)))
    return onnx.Mul(x, onnx.Add(half, onnx.Mul(half, onnx.Erf(onnx.Mul(x, root)))))


def _relu6(x: Value) -> Value:
    least, most = (onnx.CastLike(onnx.Constant(value_float=v), x) for v in (0.0, 6.0))
    return onnx.Clip(x, least, most)


_ACTIVATIONS: dict[str | None, Callable[[Value], Value]] = {
    None: onnx.Identity, "relu": onnx.Relu, "relu6": _relu6, "tanh": onnx.Tanh,
    "sigmoid": onnx.Sigmoid, "gelu": _gelu, "silu": lambda x: onnx.Mul(x, onnx.Sigmoid(x)),
    "hardswish": onnx.HardSwish,
}  # fmt: skip


@_translates
def conv_bias_act(
    input: Value, weight: Value, bias: Value | None, residual: Value | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], groups: int, activation: str | None,
    keep_preactivation: bool, packed: Value | None,
) -> tuple[Value, Value]:  # fmt: skip
    preactivation = conv_forward(input, weight, bias, stride, padding, dilation, groups)
    if residual is not None:
        preactivation = onnx.Add(preactivation, residual)
    output = _ACTIVATIONS[activation](preactivation)
    if keep_preactivation:
        return output, preactivation
    return output, onnx.CastLike(onnx.ConstantOfShape(onnx.Constant(value_ints=[0])), output)


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
def window_max_pool_forward(
    input: Value, samples: Value | None, kernel_size: Sequence[int], output_size: Sequence[int]
) -> tuple[Value, Value]:
    """MaxPool has windows of one size alone: those of an output whose size divides the input's."""
    if samples is not None:
        raise NotImplementedError(
            "onnx: fractional_max_pool has windows at random places, as no operator of ONNX has; "
            "use max_pool"
        )
    sizes = list(input.shape)[2:]
    if not all(isinstance(size, int) for size in [*sizes, *output_size]) or any(
        windows == 0 or size % windows for size, windows in zip(sizes, output_size)
    ):
        raise NotImplementedError(
            f"onnx: adaptive_max_pool to {list(output_size)} needs an input whose fixed size is a "
            f"multiple of that, but got {sizes}: MaxPool's windows are of one size; use max_pool"
        )
    window = [size // windows for size, windows in zip(sizes, output_size)]
    flat = [0] * len(window)
    found: tuple[Value, Value] = max_pool_forward(
        input, window, window, flat, [1] * len(window), False
    )
    return found


@_translates
def max_unpool_forward(input: Value, indices: Value, output_size: Sequence[int]) -> Value:
    """MaxUnpool makes (input − 1)·stride + kernel_shape; its places count through the tensor."""
    sizes = list(input.shape)[2:]
    if not all(isinstance(size, int) for size in [*sizes, *output_size]) or any(
        size > goal for size, goal in zip(sizes, output_size)
    ):
        raise NotImplementedError(
            f"onnx: max_unpool to {list(output_size)} needs an input of fixed size that is no "
            f"larger, but got {sizes}; export without dynamic sizes"
        )
    planes = onnx.Shape(input, start=0, end=2)
    first = onnx.Range(
        onnx.Constant(value_int=0),
        onnx.ReduceProd(planes, keepdims=0),
        onnx.Constant(value_int=1),
    )
    ones = onnx.Constant(value_ints=[1] * len(sizes))
    first = onnx.Reshape(first, onnx.Concat(planes, ones, axis=0))
    plane = onnx.Constant(value_int=math.prod(output_size))
    return onnx.MaxUnpool(
        input,
        onnx.Add(indices, onnx.Mul(first, plane)),
        kernel_shape=[goal - size + 1 for size, goal in zip(sizes, output_size)],
        strides=[1] * len(sizes),
    )


@_translates
def unfold(
    input: Value, kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int],
) -> Value:  # fmt: skip
    """A convolution whose filters are one-hot: each copies its tap of every channel."""
    channels, taps = input.shape[1], math.prod(kernel_size)
    if not isinstance(channels, int):
        raise NotImplementedError("onnx: unfold needs an input with a fixed number of channels")
    one_hot = torch.eye(taps).tile(channels, 1).flatten().tolist()
    filters = onnx.Reshape(
        onnx.Constant(value_floats=one_hot),
        onnx.Constant(value_ints=[channels * taps, 1, *kernel_size]),
    )
    columns = onnx.Conv(
        input, onnx.CastLike(filters, input), strides=list(stride), pads=[*padding, *padding],
        dilations=list(dilation), group=channels,
    )  # fmt: skip
    return onnx.Reshape(columns, onnx.Constant(value_ints=[0, channels * taps, -1]))


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
