"""What Inductor does when it freezes a model with torch's convolutions, done for ours.

``torch.compile`` freezes where ``torch._inductor.config.freezing`` is set and no gradient is asked
for: parameters become constants. Then, in this order:

- What follows a convolution is folded into its constants: conv(x, w, b) and an addition,
  subtraction, multiplication or division with one number per channel (a batch norm in evaluation is
  four of them) becomes one convolution with other constants, computed once, at compile time.
- Residuals and activations go into the kernel, as in every compiled graph (``_inductor.py``).
- On a CPU, 2-d and 3-d convolutions read and write channels last, and have their weights packed in
  the order in which the kernel reads them for the sizes at hand.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._dynamo.utils import counters
from torch._inductor.compile_fx import record_original_output_strides
from torch._inductor.constant_folding import replace_node_with_constant
from torch._inductor.fx_passes import freezing_patterns
from torch._inductor.pattern_matcher import (
    MULTIPLE,
    Arg,
    CallFunction,
    KeywordArg,
    Match,
    register_graph_pattern,
)
from torch.fx import Graph, Node
from torch.utils._python_dispatch import _disable_current_modes

from cnnkern._fusion import FORMATS
from cnnkern.functional._arguments import FLOATS

aten, prims = torch.ops.aten, torch.ops.prims
_SHIFTS = (aten.add.Tensor, aten.sub.Tensor)
_SCALES = (aten.mul.Tensor, aten.div.Tensor)


def _is_constant(node: Any) -> bool:
    return node is None or (isinstance(node, Node) and node.op == "get_attr")


def _foldable(match: Match) -> bool:
    """Constants only; the other operand is one number, or one per output channel."""
    binary: Any = match.output_node()
    conv, other = binary.args[:2]
    _, weight, bias, *_ = conv.args
    if binary.kwargs or not (_is_constant(weight) and _is_constant(bias)):
        return False
    if isinstance(other, float):
        return True
    if not _is_constant(other):
        return False
    w, value = weight.meta["val"], other.meta["val"]
    per_channel = [w.shape[0], *[1] * (w.dim() - 2)]
    return value.dtype == w.dtype and list(value.shape) in (
        [],
        [1] * value.dim() if value.dim() <= w.dim() else None,
        per_channel,
        [1, *per_channel],
    )


def _vector(graph: Graph, other: Any, w: torch.Tensor) -> Node:
    """The other operand as a tensor of one number per output channel."""
    channels = w.shape[0]
    if isinstance(other, float):
        kwargs: dict[str, Any] = {"dtype": w.dtype, "device": w.device}
        return graph.call_function(aten.full.default, ([channels], other), kwargs)
    flat = graph.call_function(aten.reshape.default, (other, [-1]))
    return graph.call_function(aten.expand.default, (flat, [channels]))


def _fold(match: Match, *_: Any, other: Any) -> None:
    counters["inductor"]["binary_folding"] += 1  # tells Inductor to try another round
    binary: Any = match.output_node()
    conv, graph = binary.args[0], match.graph
    x, weight, bias, *rest = conv.args
    w = weight.meta["val"]
    with graph.inserting_before(binary):
        vector = _vector(graph, other, w)
        if binary.target in _SCALES:
            column = graph.call_function(aten.reshape.default, (vector, [-1, *[1] * (w.dim() - 1)]))
            weight = graph.call_function(binary.target, (weight, column))
            bias = bias and graph.call_function(binary.target, (bias, vector))
        elif bias is not None:
            bias = graph.call_function(binary.target, (bias, vector))
        elif binary.target is aten.sub.Tensor:
            bias = graph.call_function(aten.neg.default, (vector,))
        else:
            bias = vector
        folded = graph.call_function(conv.target, (x, weight, bias, *rest))
        folded.meta.update(conv.meta)
    binary.replace_all_uses_with(folded)
    graph.erase_node(binary)
    graph.erase_node(conv)


# --------------------------------------------------------------------------------------------------
# Channels last and packed weights


def _on_cpu(match: Match) -> bool:
    """A convolution of floats in 2-d or 3-d whose weight is a constant."""
    node: Any = match.output_node()
    x, weight = node.args[:2]
    value = x.meta["val"]
    on_cpu = value.device.type == "cpu" and value.dtype in FLOATS and value.dim() in FORMATS
    return on_cpu and _is_constant(weight)


def _channels_last(graph: Graph, x: Any) -> Node:
    """Costs nothing where the tensor is stored so already."""
    value = x.meta["val"]
    last = value.contiguous(memory_format=FORMATS[value.dim()])
    forced = graph.call_function(prims.inductor_force_stride_order.default, (x, last.stride()))
    forced.meta["val"] = last
    return forced


def _packed(value: torch.Tensor, weight: torch.Tensor, window: Any) -> torch.Tensor | None:
    """None where the kernel reads the weight as it is, or sizes are open."""
    if not all(isinstance(size, int) for size in value.shape):
        return None
    with _disable_current_modes():
        x = torch.empty(value.shape, dtype=value.dtype)
        x = x.to(memory_format=FORMATS[value.dim()])
        packed: torch.Tensor = torch.ops.cnnkern.conv_pack_weight(x, weight, *window)
    return packed if packed.numel() > 0 else None


def _prepare(match: Match, *_: Any) -> None:
    """Takes conv_forward or conv_bias_act; leaves conv_bias_act."""
    node: Any = match.output_node()
    graph: Any = match.graph
    module = graph.owning_module
    record_original_output_strides(module)  # of what the model returns: kept
    fused = torch.ops.cnnkern.conv_bias_act.default
    if node.target is fused:
        x, weight, bias, residual, *window, activation, keep, _ = node.args
    else:
        x, weight, bias, *window = node.args
        residual, activation, keep = None, None, False
    packed = _packed(x.meta["val"], getattr(module, weight.target), window)
    with graph.inserting_before(node):
        x = _channels_last(graph, x)
        residual = residual and _channels_last(graph, residual)
        # A place for the constant, which can only take the place of a node.
        place = None if packed is None else graph.call_function(aten.alias.default, (weight,))
        args = (x, weight, bias, residual, *window, activation, keep, place)
        if node.target is fused:
            node.args = args
        else:
            both = graph.call_function(fused, args)
            output = graph.call_function(operator.getitem, (both, 0))
            output.meta.update(node.meta)
            node.replace_all_uses_with(output)
            graph.erase_node(node)
    if place is not None:
        replace_node_with_constant(module, place, packed)


def register(ops: Any) -> None:
    """Adds the patterns for these operators to Inductor's own."""
    target = ops.conv_forward.default
    conv = CallFunction(target, *[Arg() for _ in target._schema.arguments], _users=1)
    for binary in (*_SHIFTS, *_SCALES):
        freezing_patterns.register_binary_folding_pattern(
            CallFunction(binary, conv, KeywordArg("other")), extra_check=_foldable
        )(_fold)
    for op in (target, ops.conv_bias_act.default):
        pattern = CallFunction(op, *[Arg() for _ in op._schema.arguments], _users=MULTIPLE)
        register_graph_pattern(
            pattern, extra_check=_on_cpu, pass_dict=freezing_patterns.pass_patterns[2]
        )(_prepare)
