"""What Inductor does for torch's convolutions when it compiles them, done for ours.

Its patterns know only ``aten.convolution``. In every compiled graph a residual and an activation
after conv(x, w, b), if nothing else reads what lies between, go into the kernel: ``conv_bias_act``.

When it freezes a model, what follows a convolution is folded into its constants: conv(x, w, b) and
an addition, subtraction, multiplication or division with one number per channel (a batch norm in
evaluation is four of them) becomes one convolution with other constants, and the constants are
computed once, at compile time. ``torch.compile`` freezes where ``torch._inductor.config.freezing``
is set and no gradient is asked for.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.utils import counters
from torch._inductor.fx_passes.freezing_patterns import register_binary_folding_pattern
from torch._inductor.fx_passes.post_grad import pass_patterns
from torch._inductor.pattern_matcher import (
    Arg,
    CallFunction,
    KeywordArg,
    Match,
    register_graph_pattern,
)
from torch.fx import Graph, Node, map_arg
from torch.fx.experimental.symbolic_shapes import statically_known_true

from cnnkern.functional._arguments import FLOATS

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


# --------------------------------------------------------------------------------------------------
# Activations and residuals


def _clamp(x: Any) -> Any:
    return CallFunction(aten.clamp_max.default, CallFunction(aten.clamp_min.default, x, 0), 6)


def _silu(x: Any) -> Any:
    e = CallFunction(aten.exp.default, CallFunction(aten.neg.default, x))
    return CallFunction(aten.div.Tensor, x, CallFunction(aten.add.Tensor, e, 1))


def _gelu(x: Any) -> Any:
    root = KeywordArg("root_of_half")
    erf = CallFunction(aten.erf.default, CallFunction(aten.mul.Tensor, x, root))
    half = CallFunction(aten.mul.Tensor, x, 0.5)
    return CallFunction(aten.mul.Tensor, half, CallFunction(aten.add.Tensor, erf, 1))


def _hardswish(x: Any) -> Any:
    gate = _clamp(CallFunction(aten.add.Tensor, x, 3))
    return CallFunction(aten.div.Tensor, CallFunction(aten.mul.Tensor, x, gate), 6)


# As Inductor's decompositions leave them; how often each reads its argument.
_ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "relu": (functools.partial(CallFunction, aten.relu.default), 1),
    "relu6": (_clamp, 1),
    "tanh": (functools.partial(CallFunction, aten.tanh.default), 1),
    "sigmoid": (functools.partial(CallFunction, aten.sigmoid.default), 1),
    "silu": (_silu, 2),
    "gelu": (_gelu, 2),
    "hardswish": (_hardswish, 2),
}


def _convolution(match: Match) -> Node:
    return next(node for node in match.nodes if str(node.target).endswith("conv_forward.default"))


def _fusable(match: Match) -> bool:
    """A residual is a tensor of the convolution's size and dtype; nothing is broadcast."""
    value = _convolution(match).meta["val"]
    residual = match.kwargs.get("residual")
    if value.dtype not in FLOATS or match.kwargs.get("root_of_half", 0.5**0.5) != 0.5**0.5:
        return False
    if residual is None:
        return True
    other = residual.meta["val"] if isinstance(residual, Node) else None
    return (
        isinstance(other, torch.Tensor)
        and (other.dtype, other.dim()) == (value.dtype, value.dim())
        and all(statically_known_true(a == b) for a, b in zip(other.shape, value.shape))
    )


def _fuse(activation: str | None, target: Any, match: Match, *_: Any, **kwargs: Any) -> None:
    graph, last = match.graph, match.output_node()
    x, weight, bias, *window = _convolution(match).args
    args = (x, weight, bias, kwargs.get("residual"), *window, activation, False, None)
    with graph.inserting_before(last):
        both = graph.call_function(target, args)
        output = graph.call_function(operator.getitem, (both, 0))
    both.meta["val"] = target(*map_arg(args, lambda node: node.meta["val"]))
    output.meta.update(last.meta)
    output.meta["val"] = both.meta["val"][0]
    last.replace_all_uses_with(output)
    match.erase_nodes()


def _register_fusions(ops: Any) -> None:
    conv = ops.conv_forward.default
    arguments = [Arg() for _ in conv._schema.arguments]

    def add(activation: str | None, pattern: Any) -> None:
        handler = functools.partial(_fuse, activation, ops.conv_bias_act.default)
        register_graph_pattern(pattern, _fusable, pass_dict=pass_patterns[1])(handler)

    def sums(users: int) -> list[Any]:
        first = CallFunction(conv, *arguments, _users=1)
        residual = KeywordArg("residual")
        pairs = ((first, residual), (residual, first))
        return [CallFunction(aten.add.Tensor, *pair, _users=users) for pair in pairs]

    for activation, (make, users) in _ACTIVATIONS.items():
        for argument in (CallFunction(conv, *arguments, _users=users), *sums(users)):
            add(activation, make(argument))
    for pattern in sums(1):
        add(None, pattern)


# --------------------------------------------------------------------------------------------------


@functools.cache
def register(namespace: str) -> None:
    """Adds the patterns for one namespace's convolution to Inductor's own, once."""
    ops = getattr(torch.ops, namespace)
    _register_fusions(ops)
    target = ops.conv_forward.default
    conv = CallFunction(target, *[Arg() for _ in target._schema.arguments], _users=1)
    for binary in (*_SHIFTS, *_SCALES):
        register_binary_folding_pattern(
            CallFunction(binary, conv, KeywordArg("other")), extra_check=_foldable
        )(_fold)
