"""Helpers for tests of layers that run on cnnkern: inputs, comparisons, and what ran.

The exact tests' idea: with small integers every product and every partial sum is exact in fp32, so
results must equal the reference bit for bit and no tolerance is tuned.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from cnnkern import _C


def integer_tensor(
    *shape: int, dtype: torch.dtype = torch.float32, largest: int = 3, seed: int = 0
) -> Tensor:
    """Integers from -largest to largest; sums of products are exact in fp32 below 2^24."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, shape, generator=generator).to(dtype)


def guarded_copy(
    values: Tensor, offset: int = 1, gap: int = 2, device: str | torch.device = "cpu"
) -> Tensor:
    """The same values and order of strides, as a view into a storage that is NaN everywhere else.

    Args:
        values: any dense tensor.
        offset: elements between the storage's begin and the first value; odd ones are misaligned.
        gap: stride of the innermost dimension; 1 keeps the tensor dense.
        device: where the storage is to be.
    """
    order = sorted(range(values.dim()), key=values.stride, reverse=True)
    dense = values.permute(order)
    shape = [*dense.shape[:-1], gap * dense.shape[-1]]
    indices = -(2**40) if values.dtype == torch.int64 else torch.iinfo(torch.uint8).max
    fill = float("nan") if values.is_floating_point() else indices
    storage = torch.full((offset + math.prod(shape) + 3,), fill, dtype=values.dtype, device=device)
    view = storage[offset : offset + math.prod(shape)].view(shape)[..., ::gap].copy_(dense)
    return view.permute(sorted(range(values.dim()), key=order.__getitem__))


@contextmanager
def launches() -> Iterator[Counter[str]]:
    """Counts the kernels that run inside, by name (``cpu.implicit_gemm``); full at the end.

    >>> import cnnkern
    >>> with launches() as ran:
    ...     _ = cnnkern.functional.max_pool1d(torch.zeros(1, 1, 4), 2)
    >>> sum(ran.values())
    1
    """
    before, ran = _launches(), Counter[str]()
    try:
        yield ran
    finally:
        ran.update(_launches() - before)


def _modules() -> list[Any]:
    """The compiled modules that are loaded: each counts and forces for itself."""
    emulator = sys.modules.get("cnnkern._emulator")
    return [_C] if emulator is None else [_C, emulator]


def _launches() -> Counter[str]:
    total = Counter[str]()
    for module in _modules():
        total.update(module.launches())
    return total


@contextmanager
def force_kernel(operation: str, name: str) -> Iterator[None]:
    """Every call inside runs on the named kernel, or raises with the kernel's reason.

    Args:
        operation: ``"conv"``, ``"max_pool"``, ``"avg_pool"``, ``"window_pool"`` or ``"unfold"``.
        name: as the kernel table and ``explain`` show it.
    """
    for module in _modules():
        module.force_kernel(operation, name)
    try:
        yield
    finally:
        for module in _modules():
            module.force_kernel(operation, "")


def assert_close_to_float64(
    actual: Tensor, baseline: Tensor, exact: Any, ulps: float = 4.0, label: str = ""
) -> None:
    """Asserts that the error against float64 is at most twice the baseline's, plus a few ulps.

    Args:
        actual: our result, in the dtype under test.
        baseline: PyTorch's result in the same dtype.
        exact: the float64 result (tensor or array); of complex tensors the complex128 one, whose
            real and imaginary parts are compared.
        ulps: the floor, in units of the dtype's rounding at the result's largest magnitude.
        label: printed on failure; the problem string repeats the case.
    """
    assert actual.dtype == baseline.dtype, label
    if actual.is_complex():
        actual, baseline, exact = (
            torch.view_as_real(value.resolve_conj()) for value in (actual, baseline, exact)
        )
    truth = torch.as_tensor(exact, dtype=torch.float64)
    assert actual.shape == truth.shape, label
    if truth.numel() == 0:
        return
    ours = float((actual.double() - truth).abs().max())
    theirs = float((baseline.double() - truth).abs().max())
    floor = ulps * torch.finfo(actual.dtype).eps * max(float(truth.abs().max()), 1e-30)
    assert ours <= 2 * theirs + floor, (
        f"{label}: largest error {ours:.3e} against float64, but PyTorch's is {theirs:.3e} "
        f"(floor {floor:.3e})"
    )


def assert_equal(actual: Tensor, expected: Any, label: str = "") -> None:
    """Asserts shape and values, bit for bit after rounding to the dtype; NaN equals NaN."""
    wanted = torch.as_tensor(expected).to(actual.dtype)
    assert actual.shape == wanted.shape, f"{label}: shape {actual.shape}, expected {wanted.shape}"
    same = (actual == wanted) | (actual.isnan() & wanted.isnan())
    if not bool(same.all()):
        where: Sequence[int] = (~same).nonzero()[0].tolist()
        raise AssertionError(
            f"{label}: {int((~same).sum())} of {same.numel()} elements differ, the first at "
            f"{where}: got {actual[tuple(where)].item()}, expected {wanted[tuple(where)].item()}"
        )
