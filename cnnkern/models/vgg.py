"""VGG-11 and VGG-16 of Simonyan and Zisserman (2015); parameter names are torchvision's."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers

WIDTHS = (64, 128, 256, 512, 512)
SMALL_WIDTHS = (16, 32, 64, 128, 128)


def vgg_features(
    layers: Layers, in_channels: int, depths: tuple[int, ...], widths: tuple[int, ...]
) -> nn.Sequential:
    """Stages of 3×3 convolutions, ``depths[i]`` of ``widths[i]`` filters, each ended by a pool."""
    modules: list[nn.Module] = []
    for depth, width in zip(depths, widths):
        for _ in range(depth):
            modules += [layers.Conv2d(in_channels, width, kernel_size=3, padding=1), nn.ReLU()]
            in_channels = width
        modules.append(layers.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*modules)


class VGG(Model):
    """(N, in_channels, H, W) images to (N, num_classes) logits.

    Nothing but 3×3 convolutions, 2×2 max pools and three linear layers: two 3×3 filters see as
    much as one of 5×5, with fewer weights and one more non-linearity. ``small`` is for 32×32
    pixels: layers are a quarter as wide, and the linear layers see 1×1 maps instead of 7×7.

    >>> net = VGG11(num_classes=10, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 10])
    """

    depths: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (in_channels, 32, 32) if small else (in_channels, 224, 224)
        widths = SMALL_WIDTHS if small else WIDTHS
        side, hidden = (1, 256) if small else (7, 4096)
        self.features = vgg_features(layers, in_channels, self.depths, widths)
        self.avgpool = layers.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        x = self.avgpool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


class VGG11(VGG):
    """Configuration A of the paper: eight convolutions."""

    depths = (1, 1, 2, 2, 2)


class VGG16(VGG):
    """Configuration D of the paper: thirteen convolutions."""

    depths = (2, 2, 3, 3, 3)
