"""What every network of the registry has in common."""

from __future__ import annotations

from typing import Any, Protocol, cast

from torch import nn


class Layers(Protocol):
    """A namespace of layer classes with the signatures of ``torch.nn``."""

    @property
    def Conv2d(self) -> Any: ...

    @property
    def MaxPool2d(self) -> Any: ...


def default_layers() -> Layers:
    """cnnkern's own layers."""
    import cnnkern

    return cast(Layers, cnnkern)


class Model(nn.Module):
    """A network that knows the size of one input image, (C, H, W)."""

    input_shape: tuple[int, int, int]
