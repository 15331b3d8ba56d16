"""What the rules share: the one rule for memory formats, and how vmap folds a dimension away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

Ints = Sequence[int]
Dims = Sequence[int | None]

# --------------------------------------------------------------------------------------------------
# Fake kernels: the shape, and the one rule for memory formats (csrc/torch/tensor_args.h)


def empty(
    like: Tensor, size: Sequence[int], *formats: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Channels last if one of ``formats`` is stored so, else contiguous."""
    memory_format = torch.contiguous_format
    for tensor in formats:
        if tensor.dim() in (4, 5) and (found := suggest_memory_format(tensor)) != memory_format:
            memory_format = found
            break
    return torch.empty(
        tuple(size), dtype=dtype or like.dtype, device=like.device, memory_format=memory_format
    )


# --------------------------------------------------------------------------------------------------
# vmap: fold the mapped dimension into the batch, or into the groups where weights are mapped too


def front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped dimension first; expanded where the tensor is not mapped."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def into_batch(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(size·N, C, *spatial)"""
    return front(tensor, dim, size).flatten(0, 1)


def into_channels(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(N, size·C, *spatial)"""
    return front(tensor, dim, size).movedim(0, 1).flatten(1, 2)
