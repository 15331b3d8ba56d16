"""U-Net of Ronneberger, Fischer, Brox (2015): a label for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, conv_norm, default_layers, require_multiple


def _double_conv(layers: Layers, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(layers, inputs, outputs, 3, nn.ReLU()),
        conv_norm(layers, outputs, outputs, 3, nn.ReLU()),
    )


class UNet(Model):
    """(N, in_channels, H, W) images to (N, num_classes, H, W) logits of each pixel.

    Down: two 3×3 convolutions and a 2×2 max pool, four times, each with twice the channels. Up:
    a transposed 2×2 convolution with stride 2, next to it the maps of the same size from the way
    down, two 3×3 convolutions. As is usual today, convolutions are padded, so that labels are as
    many as pixels, and normalised. ``small`` is for 64×64 pixels: three times down, and a quarter
    as wide.

    >>> net = UNet(num_classes=4, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 4, 64, 64])

    Raises:
        ValueError: in ``forward``, height or width is no multiple of 16 (small: 8).
    """

    task = "scene labelling"

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (in_channels, 64, 64) if small else (in_channels, 256, 256)
        widths = (16, 32, 64, 128) if small else (64, 128, 256, 512, 1024)
        self.shrinks_by = 2 ** (len(widths) - 1)
        self.down, self.pools = nn.ModuleList(), nn.ModuleList()
        inputs = in_channels
        for width in widths[:-1]:
            self.down.append(_double_conv(layers, inputs, width))
            self.pools.append(layers.MaxPool2d(2))
            inputs = width
        self.bottom = _double_conv(layers, inputs, widths[-1])
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.grow.append(layers.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2))
            self.up.append(_double_conv(layers, 2 * width, width))
        self.output = layers.Conv2d(widths[0], num_classes, kernel_size=1)
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        require_multiple(images, self.shrinks_by, "U-Net")
        x, skipped = images, []
        for conv, pool in zip(self.down, self.pools):
            skipped.append(conv(x))
            x = pool(skipped[-1])
        x = self.bottom(x)
        for grow, conv, skip in zip(self.grow, self.up, reversed(skipped)):
            x = conv(torch.cat([skip, grow(x)], 1))
        logits: Tensor = self.output(x)
        return logits
