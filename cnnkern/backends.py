"""Which kernels serve a call: by the tensor's device, or by an explicit choice.

``auto`` takes the CPU kernels for CPU tensors and the CUDA kernels for CUDA tensors. ``emulator``
runs the CUDA kernels on CPU tensors, in the SIMT emulator.

``cnnkern.backends.winograd`` (True unless set) says whether float32 3x3 convolutions may take
Winograd's algorithm, on the CPU and on GPUs where it pays (sm_75, sm_86, sm_89): two to four times
fewer multiplications, with an error up to 1e-5 of the result's norm, and a NaN or an infinity in
the input spreads over up to 4x4 outputs beside the ones that see it.
The setting is the process's, holds for every later call, and ``cnnkern.explain`` shows it.

>>> import cnnkern
>>> cnnkern.backends.winograd = False
>>> cnnkern.explain("n1c64h56w56k64r3s3p1").kernel
'implicit_gemm'
>>> cnnkern.backends.winograd = True
>>> cnnkern.explain("n1c64h56w56k64r3s3p1").kernel
'winograd'
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from cnnkern import _ops
from cnnkern._library import CUDA_MISSING as CUDA_MISSING

BACKENDS = ("auto", "cpu", "cuda", "emulator")
_active = "auto"

winograd: bool


class _Module(types.ModuleType):
    """A module whose flag lives where the plans read it."""

    @property
    def winograd(self) -> bool:
        return _ops._C.winograd()

    @winograd.setter
    def winograd(self, allowed: bool) -> None:
        _ops._C.set_winograd(allowed)
        if emulated := sys.modules.get("cnnkern._emulator"):
            emulated.set_winograd(allowed)


sys.modules[__name__].__class__ = _Module


@contextmanager
def backend(name: str, device: str = "sm_80") -> Iterator[None]:
    """Runs every cnnkern call inside on the named backend.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"emulator"``.
        device: the GPU that the emulator stands for, such as ``"sm_75"`` or ``"sm_80"``.

    Raises:
        ValueError: the name or the device is unknown.
        RuntimeError: that backend was not built; the message says how to build it.

    A gradient runs on the backend that its forward ran on.

    >>> import cnnkern
    >>> x, w = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    >>> with backend("emulator"):
    ...     cnnkern.functional.conv2d(x, w).flatten()
    tensor([9., 9., 9., 9.])
    """
    global _active
    if name not in BACKENDS:
        raise ValueError(f"backend: name is {name!r}, but one of {', '.join(BACKENDS)} is expected")
    if name == "emulator":
        emulator().set_device(device)
    if name == "cuda" and not cuda_built():
        raise RuntimeError(CUDA_MISSING)
    previous, _active = _active, name
    try:
        yield
    finally:
        _active = previous


@contextmanager
def emulated_tf32() -> Iterator[None]:
    """Lets the emulator round float32 to tf32, as PyTorch's setting does on CUDA tensors."""
    emulator().set_tf32(True)
    try:
        yield
    finally:
        emulator().set_tf32(False)


def cuda_built() -> bool:
    """Whether this build holds CUDA kernels."""
    return bool(_ops._C.cuda_built)


def emulator() -> Any:
    """The module ``cnnkern._emulator``; the first call registers its operators."""
    try:
        module = importlib.import_module("cnnkern._emulator")
    except ImportError as error:
        raise RuntimeError(
            f"cnnkern's emulator cannot be loaded ({error}); build it with: python tools/build.py"
        ) from error
    _ops.register_emulator()
    module.set_winograd(_ops._C.winograd())
    return module


def operators_for(tensor: torch.Tensor) -> Any:
    """The operator namespace (torch.ops.cnnkern, or the emulator's) that serves this tensor."""
    if _active == "auto":
        return torch.ops.cnnkern
    device = tensor.device.type
    wanted = "cpu" if _active == "emulator" else _active
    if device not in (wanted, "meta"):
        raise RuntimeError(
            f"backend({_active!r}) takes {wanted} tensors, but got one on {device}; "
            f"use .to({wanted!r}) or backend('auto')"
        )
    return torch.ops.cnnkern_emulator if _active == "emulator" else torch.ops.cnnkern
