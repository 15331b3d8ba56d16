"""One problem as calls that do the same work through cnnkern and through PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import torch
from torch import Tensor

from cnnkern.problems import Problem

Call = Callable[[], Tensor]


def flops(problem: Problem) -> float:
    """Multiplies and adds, those on padding too, as everybody counts; 0 for a pooling."""
    if problem.is_pool:
        return 0
    return 2.0 * math.prod(problem.output_shape) * math.prod(problem.weight_shape[1:])


class Workload:
    """The tensors of a problem, drawn by a fixed seed; every layout gets the same numbers."""

    def __init__(self, problem: Problem, device: str) -> None:
        if problem.padding[::2] != problem.padding[1::2]:
            raise ValueError(f"{problem.text}: torch.nn has no padding that differs by side")
        if problem.fused:
            raise ValueError(f"{problem.text}: torch.nn has no such convolution to compare with")
        if problem.operation == "avg_pool" and max(problem.dilation) > 1:
            raise ValueError(f"{problem.text}: torch.nn has no dilated average pooling")
        if problem.operation == "window_pool":
            raise ValueError(f"{problem.text}: poolings over windows of their own are not compared")
        self.problem = problem
        generator = torch.Generator(device).manual_seed(0)

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        self._input, self._output_grad = draw(problem.input_shape), draw(problem.output_shape)
        self._weight = draw(problem.weight_shape)

    def layouts(self) -> list[str]:
        """The layouts in which PyTorch stores such tensors."""
        one = len(self.problem.input) == 1 or self.problem.operation == "unfold"
        return ["nchw"] if one else ["nchw", "nhwc"]

    def call(self, functional: ModuleType, layout: str) -> Call:
        """The problem through ``torch.nn.functional`` or ``cnnkern.functional``.

        A gradient goes through autograd's graph, which is built beforehand.
        """
        p = replace(self.problem, channels_last=layout == "nhwc")
        x, w, dy = (p.tensor(t).detach() for t in (self._input, self._weight, self._output_grad))
        dims, padding = len(p.input), p.padding[::2]

        def forward() -> Tensor:
            y: Tensor
            unfold = (p.kernel, p.dilation, padding, p.stride)
            if p.direction == "unfold":
                y = functional.unfold(x, *unfold)
            elif p.direction == "fold":
                y = functional.fold(dy.flatten(2), p.input, *unfold)
            elif p.adaptive:
                y = getattr(functional, f"adaptive_avg_pool{dims}d")(x, p.output)
            elif p.operation == "avg_pool":
                pool = getattr(functional, f"avg_pool{dims}d")
                options = (p.ceil_mode, p.count_include_pad, p.divisor)[: 2 if dims == 1 else 3]
                y = pool(x, p.kernel, p.stride, padding, *options)
            elif p.is_pool:
                pool = getattr(functional, f"max_pool{dims}d")
                y = pool(x, p.kernel, p.stride, padding, p.dilation, p.ceil_mode)
            else:
                conv = getattr(functional, f"conv{dims}d")
                y = conv(x, w, None, p.stride, padding, p.dilation, p.groups)
            return y

        if p.direction in ("fprop", "forward", "unfold", "fold"):
            return torch.no_grad()(forward)
        variable = (w if p.direction == "wgrad" else x).requires_grad_()
        y = forward()
        return lambda: torch.autograd.grad(y, variable, dy, retain_graph=True)[0]
