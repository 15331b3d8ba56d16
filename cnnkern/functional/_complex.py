"""Complex convolution as one real convolution of twice the channels.

Each group's channels are its real parts followed by its imaginary parts, and the filters of
c + id are the rows of the matrix that multiplies by it:

    re = [c, -d] · [a, b],    im = [d, c] · [a, b].

Both products of a sum meet in the kernel's accumulator, so complex32 rounds once. Autograd,
``torch.func`` and conjugate views follow from the algebra: the parts are torch's own views.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


def is_complex(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if input.is_complex() or weight.is_complex():
        return True
    return bias is not None and bias.is_complex()


def parts(tensor: Tensor) -> tuple[Tensor, Tensor]:
    tensor = tensor.resolve_conj()  # else the imaginary part is a negative view, unknown to vmap
    return tensor.real, tensor.imag


def real_channels(tensor: Tensor, groups: int) -> Tensor:
    """(N, G·C, *spatial) to (N, G·2·C, *spatial): of each group real parts, then imaginary ones."""
    return torch.stack(parts(tensor.unflatten(1, (groups, -1))), 2).flatten(1, 3)


def real_filters(weight: Tensor, groups: int) -> Tensor:
    """(G·K, C, *kernel) to (G·2·K, 2·C, *kernel)."""
    c, d = parts(weight)
    rows = (torch.cat((c, -d), 1), torch.cat((d, c), 1))
    return torch.stack([row.unflatten(0, (groups, -1)) for row in rows], 1).flatten(0, 2)


def complex_channels(tensor: Tensor, groups: int) -> Tensor:
    """Undoes :func:`real_channels`."""
    re, im = tensor.unflatten(1, (groups, 2, -1)).unbind(2)
    return torch.complex(re, im).flatten(1, 2)


def convolve(
    real: Callable[..., Tensor], check: Callable[..., Any], transposed: bool, input: Tensor,
    weight: Tensor, bias: Tensor | None, *lists: Any,
) -> Tensor:  # fmt: skip
    """The convolution of complex tensors by ``real``, which takes real ones; groups come last.

    ``check`` raises for what does not fit, in terms of the complex tensors. A transposed
    convolution multiplies by the transposed matrices: those of the conjugates.
    """
    if not torch.compiler.is_compiling():  # Dynamo cannot write sentences of symbolic sizes
        check(input, weight, bias, *lists)
    groups = lists[-1]
    filters = real_filters(weight.conj() if transposed else weight, groups)
    both = None if bias is None else real_channels(bias.unsqueeze(0), groups).squeeze(0)
    device = input.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    # torch casts no complex tensors either.
    with torch.autocast(device, enabled=False) if casts else nullcontext():
        output = real(real_channels(input, groups), filters, both, *lists)
    return complex_channels(output, groups)
