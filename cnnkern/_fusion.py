"""What :func:`cnnkern.optimize` does to a traced model's graph, node by node.

A chain is a convolution and what the kernel can do in its place: a batch norm (folded into the
weights), the addition of a residual, an activation. It is fused where nothing else reads the values
in between and nothing is written in place meanwhile: then no order of the other calls matters.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from cnnkern import functional, nn
from cnnkern.convert import REPLACEMENTS
from cnnkern.functional._arguments import FLOATS

F = torch.nn.functional
FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}

_BLOCKS: dict[type, Any] = {
    layer: getattr(nn, f"ConvBlock{dims}d")
    for dims in (1, 2, 3)
    for layer in (getattr(torch.nn, f"Conv{dims}d"), getattr(nn, f"Conv{dims}d"))
}
_CALLS: dict[Any, Callable[..., Any]] = {
    call: getattr(functional, f"conv{dims}d_bias_act")
    for dims in (1, 2, 3)
    for call in (getattr(torch, f"conv{dims}d"), getattr(functional, f"conv{dims}d"))
}
_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
_DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout)
_ACTIVATIONS: dict[Any, str] = {
    torch.nn.ReLU: "relu", torch.nn.ReLU6: "relu6", torch.nn.Tanh: "tanh",
    torch.nn.Sigmoid: "sigmoid", F.relu6: "relu6",
    torch.nn.GELU: "gelu", torch.nn.SiLU: "silu", torch.nn.Hardswish: "hardswish",
    F.relu: "relu", F.tanh: "tanh", F.sigmoid: "sigmoid", F.gelu: "gelu", F.silu: "silu",
    F.hardswish: "hardswish", torch.relu: "relu", torch.relu_: "relu", torch.tanh: "tanh",
    torch.tanh_: "tanh", torch.sigmoid: "sigmoid", torch.sigmoid_: "sigmoid",
    "relu": "relu", "relu_": "relu", "tanh": "tanh", "tanh_": "tanh", "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
}  # fmt: skip
_SUMS = (operator.add, torch.add, "add")
_SUMS_IN_PLACE = (operator.iadd, "add_")
_OPERATORS_IN_PLACE = {getattr(operator, name) for name in operator.__all__ if name[0] == "i"} - {
    operator.index, operator.indexOf, operator.inv, operator.invert, operator.is_, operator.is_not,
    operator.itemgetter,
}  # fmt: skip


def fuse(model: GraphModule) -> Iterator[str]:
    """Fuses every chain; yields a sentence for each layer that had to be left alone.

    The nodes carry the shapes of a run (:class:`torch.fx.passes.shape_prop.ShapeProp`).
    """
    _remove_what_does_nothing(model)
    used = Counter(node.target for node in model.graph.nodes if node.op == "call_module")
    for node in list(model.graph.nodes):
        if _is_convolution(model, node):
            yield from _Chain(model, node).fuse(used)
    model.graph.lint()
    model.delete_all_unused_submodules()
    model.recompile()


def serve_calls(model: GraphModule) -> None:
    """The functions that torch.nn.functional has and we too; views of any memory format."""
    for node in model.graph.nodes:
        if node.op == "call_function":
            node.target = REPLACEMENTS.get(node.target, node.target)
        elif node.op == "call_method" and node.target == "view":
            node.target = "reshape"
    model.recompile()


def keep_channels_last(model: GraphModule, opaque: Collection[str]) -> None:
    """Channels last from the input on; opaque modules, whose code is unknown, get what they know.

    A convolution's result is in channels last if its weight is.
    """
    for node in list(model.graph.nodes):
        if node.op == "placeholder" and (wanted := FORMATS.get(_dims(node))):
            with model.graph.inserting_after(node):
                stored = model.graph.call_method("contiguous", (node,))
            node.replace_all_uses_with(stored)
            stored.args, stored.kwargs = (node,), {"memory_format": wanted}
        elif node.op == "call_module" and node.target in opaque:
            for given in node.all_input_nodes:
                if _dims(given) in FORMATS:
                    with model.graph.inserting_before(node):
                        node.replace_input_with(
                            given, model.graph.call_method("contiguous", (given,))
                        )
        elif node.op == "call_function" and node.target in _CALLS.values():
            weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
            if isinstance(weight, Node) and weight.op == "get_attr":
                _store_channels_last(operator.attrgetter(str(weight.target))(model))
    for module in model.modules():
        if isinstance(module, _ConvNd):
            _store_channels_last(module.weight)
    model.recompile()


def _store_channels_last(weight: torch.Tensor) -> None:
    if weight.dim() in FORMATS:
        weight.data = weight.data.contiguous(memory_format=FORMATS[weight.dim()])


def _remove_what_does_nothing(model: GraphModule) -> None:
    """Dropout in evaluation, and identities."""
    for node in list(model.graph.nodes):
        module = _module(model, node)
        idle = type(module) is torch.nn.Identity or isinstance(module, _DropoutNd)
        if node.op == "call_function" and node.target in _DROPOUTS:
            training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
            idle = training is False
        if idle and node.all_input_nodes and not (module and _hooked(module)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            model.graph.erase_node(node)


def _module(model: GraphModule, node: Node) -> torch.nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _hooked(module: torch.nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_convolution(model: GraphModule, node: Node) -> bool:
    module = _module(model, node)
    if node.op == "call_function":
        return node.target in _CALLS
    return type(module) in _BLOCKS or isinstance(module, _ConvTransposeNd)


def _tensor(node: Any) -> Any:
    """Shape and dtype of a node's value, or None if it is no tensor."""
    found = node.meta.get("tensor_meta") if isinstance(node, Node) else None
    return found if hasattr(found, "shape") else None


def _dims(node: Node) -> int:
    found = _tensor(node)
    return 0 if found is None or found.dtype not in FLOATS else len(found.shape)


def _name(node: Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


class _Chain:
    """One convolution and, found in this order, what can be done in its kernel."""

    def __init__(self, model: GraphModule, convolution: Node) -> None:
        self.model = model
        self.nodes = [convolution]
        self.layer: Any = _module(model, convolution)
        self.norm: Any = None
        self.residual: Node | None = None
        self.activation: str | None = None

    def fuse(self, used: Counter[Any]) -> Iterator[str]:
        convolution = self.nodes[0]
        if self.layer is not None and _hooked(self.layer):
            yield f"{_name(convolution)!r} has hooks, so nothing is fused into it"
            return
        follower = self._follower()
        norm = None if follower is None else _module(self.model, follower)
        if follower is not None and isinstance(norm, _NormBase):
            if reason := self._why_not_folded(norm):
                yield f"{_name(follower)!r} is not folded into {_name(convolution)!r}: {reason}"
            else:
                self.norm = norm
                self.nodes.append(follower)
        else:
            for reader in convolution.users:
                if type(_module(self.model, reader)) in _NORMS:
                    yield (
                        f"{_name(reader)!r} is not folded into {_name(convolution)!r}: "
                        "the convolution's result is used elsewhere, too"
                    )
        if not isinstance(self.layer, _ConvTransposeNd) and _dims(convolution) > 0:
            self._find_residual()
            self._find_activation()
        if self._writes_meanwhile():
            yield (
                f"nothing is fused into {_name(convolution)!r}: a tensor is changed in place "
                f"before {_name(self.nodes[-1])!r}"
            )
        elif len(self.nodes) > 1:
            self._replace(used)

    def _follower(self) -> Node | None:
        """The one node that reads the chain's result."""
        last = self.nodes[-1]
        return next(iter(last.users)) if len(last.users) == 1 else None

    def _why_not_folded(self, norm: Any) -> str:
        if self.layer is None:
            return "the convolution is a function call"
        if type(norm) not in _NORMS:
            return f"it is a {type(norm).__name__}"
        if norm.running_mean is None or norm.running_var is None:
            return "it keeps no running statistics"
        if isinstance(self.layer, _ConvTransposeNd) and self.layer.groups > 1:
            return "the convolution is transposed and grouped"
        return "it has hooks" if _hooked(norm) else ""

    def _find_residual(self) -> None:
        last, follower = self.nodes[-1], self._follower()
        if follower is None or follower.kwargs or len(follower.args) != 2:
            return
        first, second = follower.args
        if follower.target in _SUMS:
            other = second if first is last else first
        elif follower.target in _SUMS_IN_PLACE and first is last:
            other = second
        else:
            return
        mine, theirs = _tensor(last), _tensor(other)
        if theirs is None or other is last:
            return
        if (theirs.shape, theirs.dtype) == (mine.shape, mine.dtype):
            assert isinstance(other, Node)
            self.residual = other
            self.nodes.append(follower)

    def _find_activation(self) -> None:
        follower = self._follower()
        if follower is None or follower.op == "output":
            return
        module = _module(self.model, follower)
        found = _ACTIVATIONS.get(follower.target if module is None else type(module))
        approximate = getattr(module, "approximate", follower.kwargs.get("approximate", "none"))
        hooked = module is not None and _hooked(module)
        if found and approximate == "none" and not hooked and "out" not in follower.kwargs:
            self.activation = found
            self.nodes.append(follower)

    def _writes_meanwhile(self) -> bool:
        node = self.nodes[0]
        while (node := node.next) is not self.nodes[-1] and len(self.nodes) > 1:
            if node not in self.nodes and _writes(self.model, node):
                return True
        return False

    def _replace(self, used: Counter[Any]) -> None:
        convolution, last = self.nodes[0], self.nodes[-1]
        graph = self.model.graph
        extra = {} if self.residual is None else {"residual": self.residual}
        with graph.inserting_before(last):
            if self.layer is None:
                fused = graph.call_function(
                    _CALLS[convolution.target],
                    convolution.args,
                    {**convolution.kwargs, **extra, "activation": self.activation},
                )
            else:
                name = _new_name(self.model, str(convolution.target), used)
                self.model.set_submodule(name, self._layer())
                fused = graph.call_module(name, convolution.args, {**convolution.kwargs, **extra})
        fused.meta = {**last.meta}
        last.replace_all_uses_with(fused)
        for node in reversed(self.nodes):
            graph.erase_node(node)

    def _layer(self) -> Any:
        """A new layer, for another call of the same one may stand in another chain."""
        old: Any = self.layer
        transposed = isinstance(old, _ConvTransposeNd)
        cls: Any = type(old) if transposed else _BLOCKS[type(old)]
        options = {"output_padding": old.output_padding} if transposed else {}
        if not transposed:
            options["activation"] = self.activation
        layer = cls(
            old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding,
            dilation=old.dilation, groups=old.groups, padding_mode=old.padding_mode,
            device="meta", **options,
        )  # fmt: skip
        weight, bias = old.weight, old.bias
        if self.norm is not None:
            weight, bias = _fold(old, self.norm, transposed)
        layer.weight = torch.nn.Parameter(weight.detach())
        layer.bias = None if bias is None else torch.nn.Parameter(bias.detach())
        return layer.eval()


def _fold(layer: Any, norm: Any, transposed: bool) -> tuple[Tensor, Tensor]:
    """In float64, so that the folded weights are rounded once."""
    given = (layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    tensors: Any = [t if t is None else t.detach().double() for t in given]
    w, b, mean, variance, scale, shift = tensors
    folded = fuse_conv_bn_weights(w, b, mean, variance, norm.eps, scale, shift, transposed)
    weight, bias = (tensor.to(layer.weight.dtype) for tensor in folded)
    return weight, bias


def _new_name(model: GraphModule, name: str, used: Counter[Any]) -> str:
    """The layer's own, or a fresh one where other calls still need that layer."""
    if used[name] == 1:
        return name
    used[name] -= 1
    return f"{name}_{used[name]}"


def _writes(model: GraphModule, node: Node) -> bool:
    """Whether the node may change a tensor in place."""
    module = _module(model, node)
    if module is not None:
        known = type(module).__module__.startswith(("torch.nn", "cnnkern.nn"))
        return not known or bool(getattr(module, "inplace", False)) or _hooked(module)
    if node.op == "call_method":
        return str(node.target).endswith("_")
    if node.op != "call_function":
        return False
    target: Any = node.target
    if target is operator.setitem or target in _OPERATORS_IN_PLACE or "out" in node.kwargs:
        return True
    flags = (*node.args, node.kwargs.get("inplace"))
    return str(getattr(target, "__name__", "")).endswith("_") or any(f is True for f in flags)
