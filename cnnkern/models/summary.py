"""The arithmetic of a network, layer by layer: output volume, parameters, FLOPs.

Along each axis an output has O = (N + 2P − F)/S + 1 elements: N input, P padding on each side,
F filter footprint, S stride, the quotient rounded down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnkern.models.model import Model

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerSummary:
    """One layer, for one image. A multiply-add counts as two FLOPs."""

    name: str
    kind: str
    input: Shape
    output: Shape
    formula: str
    parameters: int
    flops: int


@dataclass(frozen=True)
class ModelSummary:
    """All layers of a network in the order in which they ran."""

    layers: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)


def output_extent(size: int, filter: int, stride: int = 1, padding: int = 0) -> int:
    """O = (N + 2P − F)/S + 1."""
    return (size + 2 * padding - filter) // stride + 1


def summarize(model: nn.Module, input_shape: Shape | None = None) -> ModelSummary:
    """Runs one zero image of ``input_shape`` (C, H, W) through ``model`` and notes every layer.

    A network of the registry knows its own input, so that None will do.
    """
    layers: list[LayerSummary] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            layers.append(_summarize_layer(name, module, tuple(inputs[0].shape), output))

        return hook

    handles = [
        module.register_forward_hook(note(name or "layer"))
        for name, module in model.named_modules()
        if not any(module.children())
    ]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(_example(model, input_shape))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return ModelSummary(tuple(layers))


def _example(model: nn.Module, input_shape: Shape | None) -> Tensor:
    if input_shape is not None:
        return next(model.parameters(), torch.zeros(())).new_zeros((1, *input_shape))
    if isinstance(model, Model):
        return model.example()
    raise ValueError("summarize: say the input's shape; only the registry's networks know it")


def _summarize_layer(name: str, module: nn.Module, input: Shape, output: Tensor) -> LayerSummary:
    shape = tuple(output.shape)
    return LayerSummary(
        name=name,
        kind=type(module).__name__,
        input=input[1:],
        output=shape[1:],
        formula=_volume_formula(module, input[1:]),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        # A layer may see one image's parts as a batch, and all of them count.
        flops=shape[0] * _flops(module, input[1:], shape[1:]),
    )


def _flops(module: nn.Module, input: Shape, output: Shape) -> int:
    """Multiplies and adds, a bias counted as one add an output; 0 for layers without weights."""
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        products = math.prod(input) * math.prod(module.weight.shape[1:])
    elif isinstance(weight, Tensor) and weight.ndim >= 2:  # (outputs, inputs, window...)
        products = math.prod(output) * math.prod(weight.shape[1:])
    else:
        return 0
    bias = math.prod(output) if getattr(module, "bias", None) is not None else 0
    return 2 * products + bias


def _volume_formula(module: nn.Module, input: Shape) -> str:
    """The volume formula with this layer's numbers, once if all axes agree."""
    if not isinstance(module, nn.modules.conv._ConvNd | nn.modules.pooling._MaxPoolNd):
        return ""
    if isinstance(module, nn.modules.conv._ConvTransposeNd) or isinstance(module.padding, str):
        return ""
    axes = len(input) - 1
    size, filter, stride, padding, dilation = (
        input[1:],
        *(
            value if isinstance(value, tuple) else (value,) * axes
            for value in (module.kernel_size, module.stride, module.padding, module.dilation)
        ),
    )
    formulas: list[str] = []
    for i in range(axes):
        footprint = (filter[i] - 1) * dilation[i] + 1
        result = output_extent(size[i], footprint, stride[i], padding[i])
        formulas.append(f"({size[i]} + 2·{padding[i]} − {footprint})/{stride[i]} + 1 = {result}")
    return ", ".join(dict.fromkeys(formulas))
