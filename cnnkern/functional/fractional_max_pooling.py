"""Fractional max pooling, 2-d and 3-d."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnkern import _ops
from cnnkern.backends import operators_for
from cnnkern.functional._arguments import (
    IntOrInts,
    check_floating,
    expand,
    float32_under_autocast,
)
from cnnkern.functional.adaptive_max_pooling import check_rank

Ratio = float | Sequence[float]


def _check_samples(op: str, samples: Tensor, input: Tensor, dims: int) -> None:
    """``input`` is batched. As torch checks them; an entry more than the batch needs is fine."""
    name = f"{op}: Expect _random_samples"
    if samples.dtype != input.dtype:
        raise RuntimeError(
            f"{name} to have the same dtype as input, {str(input.dtype)[6:]}, but got "
            f"{str(samples.dtype)[6:]}"
        )
    if samples.dim() != 3:
        raise RuntimeError(f"{name} to have 3 dimensions, got {samples.dim()}")
    if samples.shape[0] < input.shape[0]:
        raise RuntimeError(
            f"{name}.size(0) no less then input batch size, {input.shape[0]}, but got "
            f"{samples.shape[0]}"
        )
    if samples.shape[1] != input.shape[1]:
        raise RuntimeError(
            f"{name}.size(1) equals to input channel size, {input.shape[1]}, but got "
            f"{samples.shape[1]}"
        )
    if samples.shape[2] != dims:
        raise RuntimeError(f"{name}.size(2) equals to {dims}; got {samples.shape[2]}.")


def _fractional(
    op: str, dims: int, input: Tensor, kernel_size: IntOrInts, output_size: IntOrInts | None,
    output_ratio: Ratio | None, return_indices: bool, samples: Tensor | None,
) -> Any:  # fmt: skip
    check_floating(op, input)
    check_rank(op, input, dims)
    if output_size is None and output_ratio is None:
        raise ValueError(f"{op} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios: Any = output_ratio
        if not isinstance(ratios, Sequence):
            ratios = [ratios] * dims
        if len(ratios) != dims:
            raise ValueError(
                f"{op} requires output_ratio to either be a single number or a tuple of {dims}, "
                f"but got {output_ratio}"
            )
        size = tuple(int(i * ratio) for i, ratio in zip(input.shape[-dims:], ratios))
    else:
        size = expand(op, "output_size", output_size, dims)
    window = expand(op, "kernel_size", kernel_size, dims)
    has_batch = input.dim() == dims + 2
    batch = input if has_batch else input.unsqueeze(0)
    if samples is None:
        samples = torch.rand(*batch.shape[:2], dims, dtype=input.dtype, device=input.device)
    batch, samples = float32_under_autocast(batch), float32_under_autocast(samples)
    _check_samples(op, samples, batch, dims)
    samples = samples[: batch.shape[0]]
    if dims == 2:
        samples = samples.flip(-1)  # torch's come in the order W, H, those of 3-d in T, H, W
    found = _ops.window_max_pool_forward(operators_for(input), batch, samples, window, size)
    output, indices = found if has_batch else (value.squeeze(0) for value in found)
    return (output, indices) if return_indices else output


def fractional_max_pool2d(
    input: Tensor, kernel_size: IntOrInts, output_size: IntOrInts | None = None,
    output_ratio: Ratio | None = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """:func:`torch.nn.functional.fractional_max_pool2d` on cnnkern's kernels (Graham, 2014).

    Windows of ``kernel_size`` begin at pseudo-random steps of ⌊α⌋ or ⌈α⌉ elements, where
    α = (H − kernel_size) / (P − 1): window p at ⌊(p + u)·α⌋ − ⌊u·α⌋, for one u of each channel and
    axis; the last one ends the axis.

    Args:
        input: (N, C, H, W) or (C, H, W), of float32, float64, float16 or bfloat16.
        output_size: P and Q, or one number for both; P + kernel_size − 1 ≤ H.
        output_ratio: instead, P / H and Q / W; one of both is needed.
        return_indices: also returns the int64 positions of the maxima in their plane.
        _random_samples: (N, C, 2), the u of axes W and H, from [0, 1), of the input's dtype;
            without it torch.rand draws one, so that a seed gives what it gives in torch.

    Returns:
        (N, C, P, Q), in channels_last if the input is. NaN wins; of equal values the first does.

    >>> fractional_max_pool2d(torch.arange(25.0).reshape(1, 5, 5), 2, output_size=1)
    tensor([[[24.]]])
    """
    return _fractional(
        "fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio, return_indices,
        _random_samples,
    )  # fmt: skip


def fractional_max_pool3d(
    input: Tensor, kernel_size: IntOrInts, output_size: IntOrInts | None = None,
    output_ratio: Ratio | None = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """:func:`torch.nn.functional.fractional_max_pool3d` on cnnkern's kernels.

    input (N, C, D, H, W) or (C, D, H, W); returns (N, C, *output_size); ``_random_samples`` is
    (N, C, 3), of axes D, H and W. As in torch P + kernel_size − 1 < H here; for all else see
    :func:`fractional_max_pool2d`.
    """
    return _fractional(
        "fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio, return_indices,
        _random_samples,
    )  # fmt: skip
