"""What Inductor does for torch's convolutions when it compiles them, done for ours.

Its patterns know only ``aten.convolution``. In every compiled graph a residual and an activation
after conv(x, w, b), if nothing else reads what lies between, go into the kernel: ``conv_bias_act``.
What is done where parameters are constants stands in ``_inductor_freezing.py``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch._inductor.fx_passes import freezing_patterns, post_grad
from torch._inductor.pattern_matcher import (
    Arg,
    CallFunction,
    KeywordArg,
    Match,
    register_graph_pattern,
)
from torch.fx import Node, map_arg
from torch.fx.experimental.symbolic_shapes import statically_known_true

from cnnkern import _inductor_freezing
from cnnkern.functional._arguments import FLOATS

aten = torch.ops.aten


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
        for passes in (freezing_patterns.pass_patterns, post_grad.pass_patterns):
            register_graph_pattern(pattern, _fusable, pass_dict=passes[1])(handler)

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


@functools.cache
def register(namespace: str) -> None:
    """Adds the patterns for one namespace's convolution to Inductor's own, once."""
    ops = getattr(torch.ops, namespace)
    _register_fusions(ops)
    _inductor_freezing.register(ops)
