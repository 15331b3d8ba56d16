"""Inductor, when it freezes a model, folds what follows a convolution into its constants.

Its patterns know only ``aten.convolution``; these are the same for ours. conv(x, w, b) followed by
an addition, subtraction, multiplication or division with one number per channel (a batch norm in
evaluation is four of them) becomes one convolution with other constants, and the constants are
computed once, at compile time. ``torch.compile`` freezes where ``torch._inductor.config.freezing``
is set and no gradient is asked for.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch._dynamo.utils import counters
from torch._inductor.fx_passes.freezing_patterns import register_binary_folding_pattern
from torch._inductor.pattern_matcher import Arg, CallFunction, KeywordArg, Match
from torch.fx import Graph, Node

aten = torch.ops.aten
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


@functools.cache
def register(namespace: str) -> None:
    """Adds the patterns for one namespace's convolution to Inductor's own, once."""
    target = getattr(torch.ops, namespace).conv_forward.default
    conv = CallFunction(target, *[Arg() for _ in target._schema.arguments], _users=1)
    for binary in (*_SHIFTS, *_SCALES):
        register_binary_folding_pattern(
            CallFunction(binary, conv, KeywordArg("other")), extra_check=_foldable
        )(_fold)
