"""Networks built from cnnkern's layers, by name.

Every network takes ``layers=``, a namespace that provides ``Conv2d`` and ``MaxPool2d`` with the
signatures of ``torch.nn``; the default is cnnkern itself. Passing ``torch.nn`` gives the same
network, with the same initial weights for the same seed, on PyTorch's own kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cnnkern.models.lenet import LeNet5
from cnnkern.models.model import Model
from cnnkern.models.summary import LayerSummary, ModelSummary, summarize

__all__ = [
    "LayerSummary",
    "LeNet5",
    "Model",
    "ModelSummary",
    "create",
    "list_models",
    "summarize",
]

_MODELS: dict[str, Callable[..., Model]] = {"lenet5": LeNet5}


def list_models() -> list[str]:
    """The names that :func:`create` knows, sorted."""
    return sorted(_MODELS)


def create(name: str, **kwargs: Any) -> Model:
    """A freshly initialised network; ``kwargs`` go to its constructor.

    Raises:
        ValueError: there is no network of that name.
    """
    if name not in _MODELS:
        raise ValueError(f"there is no model named '{name}'; known: {', '.join(list_models())}")
    return _MODELS[name](**kwargs)
