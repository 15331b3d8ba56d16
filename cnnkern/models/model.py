"""What every network of the registry has in common."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, cast

from torch import Tensor, nn


class Layers(Protocol):
    """A namespace of layer classes with the signatures of ``torch.nn``."""

    @property
    def Conv1d(self) -> Any: ...

    @property
    def Conv2d(self) -> Any: ...

    @property
    def Conv3d(self) -> Any: ...

    @property
    def ConvTranspose2d(self) -> Any: ...

    @property
    def MaxPool2d(self) -> Any: ...

    @property
    def MaxPool3d(self) -> Any: ...

    @property
    def AdaptiveAvgPool2d(self) -> Any: ...

    @property
    def AdaptiveAvgPool3d(self) -> Any: ...

    @property
    def AdaptiveMaxPool1d(self) -> Any: ...


def default_layers() -> Layers:
    """cnnkern's own layers."""
    import cnnkern

    return cast(Layers, cnnkern)


class Model(nn.Module):
    """A network that knows the shape of one input, without the batch axis, and what it is for."""

    input_shape: tuple[int, ...]
    task: ClassVar[str] = "classification"
    recipe: dict[str, Any] | None = None  # name and arguments, where `create` made the network

    def example(self, batch: int = 1) -> Tensor:
        """A batch of zeros that the network accepts, on the device of its parameters.

        >>> from cnnkern.models import LeNet5
        >>> LeNet5().example(2).shape
        torch.Size([2, 1, 32, 32])
        """
        return next(self.parameters()).new_zeros((batch, *self.input_shape))


def conv_norm(
    layers: Layers,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    activation: nn.Module | None = None,
    **kwargs: Any,
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation, activation (if not None).

    The normalisation subtracts the mean, so the convolution needs no bias.
    """
    conv = layers.Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False, **kwargs
    )
    norm = nn.BatchNorm2d(out_channels)
    return (
        nn.Sequential(conv, norm) if activation is None else nn.Sequential(conv, norm, activation)
    )


def require_multiple(images: Tensor, of: int, net: str) -> None:
    """Raises ValueError if height or width is no multiple of ``of``, by which ``net`` shrinks."""
    height, width = images.shape[-2:]
    if height % of or width % of:
        raise ValueError(
            f"{net}: height and width must be multiples of {of}, but are {height} and {width}"
        )
