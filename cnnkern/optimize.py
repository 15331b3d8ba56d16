"""``optimize``: an evaluation copy of a model in which the kernels do as much as they can."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Tracer
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map

from cnnkern import _fusion
from cnnkern.convert import convert
from cnnkern.functional._arguments import FLOATS
from cnnkern.nn.conv_bias_act import ConvBlock

# ‖optimized − original‖/‖original‖ on the example, up to which nothing is asked.
TOLERANCES = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
# Beyond: so many times the original's own error, for Winograd's sums are rounded more often than
# torch's, but no more than so many tolerances.
OWN_ERRORS, MOST = 10, 100


class Optimized(torch.nn.Module):
    """What :func:`optimize` returns: a frozen model, for evaluation alone.

    ``model`` is the rewritten copy, whose ``graph`` and ``code`` can be printed.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval().requires_grad_(False)

    def forward(self, *inputs: Any) -> Any:
        return self.model(*inputs)

    def extra_repr(self) -> str:
        packed = sum(b.nbytes for n, b in self.named_buffers() if n.endswith(".packed_weight"))
        return f"packed_weights={packed / 2**20:.1f} MiB"

    def train(self, mode: bool = True) -> Optimized:
        """Raises RuntimeError unless ``mode`` is False."""
        if mode:
            raise RuntimeError(
                "optimize: an optimized model cannot be trained, its batch norms and dropouts are "
                "gone; train the original and optimize it again"
            )
        return super().train(False)


def optimize(
    model: torch.nn.Module, example_input: Any, tolerance: float | None = None
) -> Optimized:
    """A copy of the model for evaluation, on cnnkern's kernels and faster than ``convert``'s.

    The model is traced with :mod:`torch.fx`. Batch norms are folded into the convolutions before
    them; a residual and an activation (relu, relu6, tanh, sigmoid, gelu, silu, hardswish) after one
    are computed in its kernel; dropout is gone; 2-d and 3-d convolutions keep their tensors in
    channels last. All other layers of torch.nn that cnnkern has are converted. Parameters are
    frozen; the original is not touched. Outputs may be in channels last.

    On a CPU the weights of fused convolutions are kept a second time, in the order in which the
    kernels read them for inputs like the example: as many numbers as the weights have, or four
    times as many where the kernel is Winograd's, but then at most 40 MiB a layer. ``print`` shows
    the sum. They serve one instruction set; elsewhere every call packs anew.

    Where this cannot be done, a warning names the layer and why. A module that cannot be traced is
    converted and stays as it is inside; if that is the model itself, the copy is a converted one.

    Args:
        model: any module; put into evaluation mode in the copy.
        example_input: a tensor, or the tuple of the model's positional arguments, on the model's
            device. Other sizes work later as far as they do in the original.
        tolerance: largest ‖optimized − original‖/‖original‖ of each output on the example. By
            default 1e-10 (float64), 1e-5 (float32), 1e-2 (float16) or 5e-2 (bfloat16), and where
            the original is itself off from its float64 copy, ten times that, up to a hundred times
            these.

    Raises:
        RuntimeError: the copy's outputs differ from the original's by more.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> optimize(net, torch.randn(1, 3, 8, 8))
    Optimized(
      packed_weights=0.0 MiB
      (model): GraphModule(
        (0): ConvBlock2d(3, 8, kernel_size=(3, 3), stride=(1, 1), activation=relu)
      )
    )
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    original = copy.deepcopy(model).eval()
    with torch.no_grad():
        optimized = Optimized(_rewrite(copy.deepcopy(original), inputs))
        _check(optimized, original, inputs, tolerance)
    return optimized


def _rewrite(model: torch.nn.Module, inputs: tuple[Any, ...]) -> torch.nn.Module:
    for module in model.modules():
        if parametrize.is_parametrized(module):
            _compute_parametrizations(module)
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as failure:
        _warn(
            f"{type(model).__name__} cannot be traced ({_first_line(failure)}): the copy is "
            "converted, but nothing in it is fused"
        )
        return convert(model, inplace=True)
    for name, error in tracer.opaque.items():
        kind = type(model.get_submodule(name)).__name__
        _warn(f"{name!r} ({kind}) cannot be traced ({_first_line(error)}): nothing in it is fused")
    traced = GraphModule(model, graph, "GraphModule")
    ShapeProp(traced).propagate(*inputs)
    for sentence in _fusion.fuse(traced):
        _warn(sentence)
    _fusion.serve_calls(traced)
    convert(traced, inplace=True)
    _fusion.keep_channels_last(traced, tracer.opaque)
    _pack_weights(traced, inputs)
    return traced


def _pack_weights(model: GraphModule, inputs: tuple[Any, ...]) -> None:
    """For the sizes of a run on the example; a layer that is called twice keeps the first."""

    def pack(block: Any, given: tuple[Tensor, ...]) -> None:
        if not hasattr(block, "packed_weight"):
            block.pack_weight(given[0])

    blocks = [module for module in model.modules() if isinstance(module, ConvBlock)]
    handles = [block.register_forward_pre_hook(pack) for block in blocks]
    model(*inputs)
    for handle in handles:
        handle.remove()


class _Tracer(Tracer):
    """Ends at cnnkern's layers as at torch's, and at modules that it cannot look into."""

    def __init__(self) -> None:
        super().__init__()
        self.opaque: dict[str, Exception] = {}

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        ours = type(m).__module__.startswith("cnnkern.nn")
        opaque = module_qualified_name in self.opaque
        return ours or opaque or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        last = next(iter(reversed(self.graph.nodes)))
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:
            self.opaque[name := self.path_of_module(m)] = error
            _erase_after(self.graph, last)
            return self.create_proxy("call_module", name, args, kwargs)


def _erase_after(graph: Graph, last: Any) -> None:
    for node in reversed(graph.nodes):
        if node is last:
            break
        graph.erase_node(node)


def _compute_parametrizations(module: Any) -> None:
    """What torch's remove_parametrizations does, but it also spoils the class of the original."""
    values = {name: getattr(module, name).detach() for name in module.parametrizations}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        setattr(module, name, torch.nn.Parameter(value, requires_grad=False))


def _check(
    optimized: Optimized, original: torch.nn.Module, inputs: Any, tolerance: float | None
) -> None:
    """Leaves the original in float64 where it has to ask it for its own error."""
    wanted = original(*inputs)
    for index, (error, dtype) in enumerate(_errors(optimized(*inputs), wanted)):
        limit = TOLERANCES[dtype] if tolerance is None else tolerance
        if not error <= limit and tolerance is None:
            own = OWN_ERRORS * _own_error(original, inputs, wanted, index)
            limit = max(limit, min(own, MOST * limit))
        if not error <= limit:
            raise RuntimeError(
                f"optimize: on the example, output {index} differs from the original's by "
                f"{error:.1e} of its norm, but {limit:.0e} is allowed; the model may draw random "
                "numbers, overflow, or change a tensor in place (x += y) that it also uses under "
                "another name, else pass a larger tolerance"
            )


def _own_error(original: torch.nn.Module, inputs: Any, wanted: Any, index: int) -> float:
    """0 if the model does not run in float64."""

    def double(value: Any) -> Any:
        floating = isinstance(value, Tensor) and value.is_floating_point()
        return value.double() if floating else value

    try:
        exact = original.double()(*tree_map(double, inputs))
    except Exception:
        return 0.0
    error: float = _errors(wanted, exact)[index][0]
    return error


def _errors(found: Any, wanted: Any) -> list[tuple[float, torch.dtype]]:
    """Of each floating-point output, relative to its norm."""
    errors = []
    for mine, exact in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        if isinstance(exact, Tensor) and exact.dtype in FLOATS:
            scale = exact.double().norm().clamp_min(torch.finfo(torch.float64).tiny)
            error = (mine.double() - exact.double()).norm() / scale
            errors.append((float(error), exact.dtype))
    return errors


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _warn(sentence: str) -> None:
    warnings.warn(f"optimize: {sentence}", stacklevel=4)
