"""Pooling of whole planes, and of pyramids of them: any input size to a fixed one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnkern.functional import adaptive_max_pooling, avg_pooling, lp_pooling, max_pooling
from cnnkern.functional._arguments import check_input


def global_avg_pool1d(input: Tensor) -> Tensor:
    """The mean of each channel: (N, C, W) to (N, C, 1), or (C, W) to (C, 1)."""
    return avg_pooling.adaptive_avg_pool1d(input, 1)


def global_avg_pool2d(input: Tensor) -> Tensor:
    """The mean of each channel: (N, C, H, W) to (N, C, 1, 1), or (C, H, W) to (C, 1, 1).

    >>> global_avg_pool2d(torch.arange(4.0).reshape(1, 2, 2)).flatten()
    tensor([1.5000])
    """
    return avg_pooling.adaptive_avg_pool2d(input, 1)


def global_avg_pool3d(input: Tensor) -> Tensor:
    """The mean of each channel: (N, C, D, H, W) to (N, C, 1, 1, 1), or without N."""
    return avg_pooling.adaptive_avg_pool3d(input, 1)


def global_max_pool1d(input: Tensor) -> Tensor:
    """The maximum of each channel: (N, C, W) to (N, C, 1), or (C, W) to (C, 1)."""
    output: Tensor = max_pooling.max_pool1d(input, tuple(input.shape[-1:]))
    return output


def global_max_pool2d(input: Tensor) -> Tensor:
    """The maximum of each channel: (N, C, H, W) to (N, C, 1, 1), or (C, H, W) to (C, 1, 1).

    >>> global_max_pool2d(torch.arange(4.0).reshape(1, 2, 2)).flatten()
    tensor([3.])
    """
    output: Tensor = max_pooling.max_pool2d(input, tuple(input.shape[-2:]))
    return output


def global_max_pool3d(input: Tensor) -> Tensor:
    """The maximum of each channel: (N, C, D, H, W) to (N, C, 1, 1, 1), or without N."""
    output: Tensor = max_pooling.max_pool3d(input, tuple(input.shape[-3:]))
    return output


def global_lp_pool1d(input: Tensor, norm_type: float) -> Tensor:
    """(Σ x^p)^(1/p) of each channel: (N, C, W) to (N, C, 1), or (C, W) to (C, 1)."""
    return lp_pooling.lp_pool1d(input, norm_type, tuple(input.shape[-1:]))


def global_lp_pool2d(input: Tensor, norm_type: float) -> Tensor:
    """(Σ x^p)^(1/p) of each channel: (N, C, H, W) to (N, C, 1, 1), or (C, H, W) to (C, 1, 1).

    >>> global_lp_pool2d(torch.tensor([[[1.0, 2.0], [2.0, 4.0]]]), 2).flatten()
    tensor([5.])
    """
    return lp_pooling.lp_pool2d(input, norm_type, tuple(input.shape[-2:]))


def global_lp_pool3d(input: Tensor, norm_type: float) -> Tensor:
    """(Σ x^p)^(1/p) of each channel: (N, C, D, H, W) to (N, C, 1, 1, 1), or without N."""
    return lp_pooling.lp_pool3d(input, norm_type, tuple(input.shape[-3:]))


# What makes one level of a pyramid, by mode: a stem of adaptive_<mode>_pool1d/2d/3d.
_PYRAMIDS = {"avg": avg_pooling, "max": adaptive_max_pooling}


def spatial_pyramid_pool(
    input: Tensor, levels: Sequence[int] = (1, 2, 4), mode: str = "avg"
) -> Tensor:
    """Spatial pyramid pooling: inputs of any size to vectors of one length (He et al. 2015).

    Each level pools every channel to a grid of ``level`` bins per axis; the grids, flattened, are
    concatenated in the order of ``levels``.

    Args:
        input: (N, C, W), (N, C, H, W) or (N, C, D, H, W).
        levels: bins per axis of each level of the pyramid.
        mode: ``"avg"``, the mean of each bin, or ``"max"``, its maximum.

    Returns:
        (N, C·Σ levelᵈ) for d spatial dimensions.

    >>> spatial_pyramid_pool(torch.ones(2, 3, 17, 9)).shape  # 3 · (1 + 4 + 16)
    torch.Size([2, 63])
    """
    op = "spatial_pyramid_pool"
    check_input(op, input)
    if input.dim() not in (3, 4, 5):
        raise RuntimeError(
            f"{op}: expected input of 3, 4 or 5 dimensions (N, C, *spatial), but got size "
            f"{list(input.shape)}"
        )
    if mode not in _PYRAMIDS:
        raise ValueError(f"{op}: mode is {mode!r}, but one of {list(_PYRAMIDS)} is expected")
    if len(levels) == 0:
        raise ValueError(f"{op}: levels is empty, but at least one level is expected")
    pool = getattr(_PYRAMIDS[mode], f"adaptive_{mode}_pool{input.dim() - 2}d")
    return torch.cat([pool(input, level).flatten(1) for level in levels], dim=1)
