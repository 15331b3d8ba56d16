"""Convolution kernels chosen by timing instead of by rules, and remembered in a file."""

from __future__ import annotations

import atexit
import json
import os
import tempfile
from pathlib import Path

from cnnkern import _ops
from cnnkern.version import __version__


def autotune(enabled: bool = True) -> None:
    """Lets every later convolution run on the kernel that is fastest here, found by timing.

    The first call with a new problem runs each kernel that can take it a few times; its result is
    the result of the last. What was found is kept by device, version of cnnkern and problem: in
    this process, and in ``~/.cache/cnnkern/autotune.json`` (under ``$XDG_CACHE_HOME`` if that is
    set), which is read by ``autotune(True)`` and written by ``autotune(False)`` and at exit.

    Off unless called, because it gives up a promise: the rules choose the same kernel, and so the
    same bits, on every run; a clock may not. The emulator is never timed, and no call is while a
    CUDA graph is captured. ``cnnkern.explain`` goes on telling what the rules choose;
    ``CNNKERN_VERBOSE=1`` prints what runs.

    Args:
        enabled: whether kernels are timed from now on.

    Raises:
        TypeError: ``enabled`` is no bool.
    """
    if not isinstance(enabled, bool):
        raise TypeError(
            f"autotune(): argument 'enabled' must be bool, not {type(enabled).__name__}"
        )
    if enabled:
        _ops._C.remember_tuned(_read().get(__version__, {}))
        atexit.unregister(_write)
        atexit.register(_write)
    elif _ops._C.tuned():
        atexit.unregister(_write)
        _write()
    _ops._C.set_autotune(enabled)


def cache_file() -> Path:
    """Where results are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "cnnkern" / "autotune.json"


def _read() -> dict[str, dict[str, str]]:
    """Version -> key -> kernel; nothing if the file is missing or not ours: it is only a cache."""
    try:
        found = json.loads(cache_file().read_text())
        return {str(version): dict(kernels) for version, kernels in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write() -> None:
    """Adds this process's results to those of others, whole or not at all."""
    path = cache_file()
    found = _read()
    found[__version__] = {**found.get(__version__, {}), **_ops._C.tuned()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(found, file, indent=1)
        os.replace(file.name, path)
    except OSError as error:
        raise RuntimeError(
            f"autotune: {path} cannot be written ({error}); set XDG_CACHE_HOME"
        ) from None
