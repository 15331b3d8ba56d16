"""FCN-8s of Long, Shelhamer, Darrell (2015): VGG with a score for every pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers, require_multiple
from cnnkern.models.vgg import SMALL_WIDTHS, VGG11, VGG16, WIDTHS, vgg_features


def _interpolate(weight: Tensor) -> None:
    """Makes a transposed convolution bilinear interpolation, channel by channel: where it starts.

    The filter is a tent, as wide as two strides, the outer product of 1 − |distance|/stride.
    """
    channels, _, size, _ = weight.shape
    centre = (size - 1) / 2
    tent = 1 - (torch.arange(size) - centre).abs() / (size / 2)
    with torch.no_grad():
        weight.zero_()
        for channel in range(channels):
            weight[channel, channel] = torch.outer(tent, tent)


class FCN8s(Model):
    """(N, in_channels, H, W) images to (N, num_classes, H, W) logits of each pixel.

    VGG-16, whose linear layers have become convolutions, scores every 32nd pixel. Twice, scores
    are enlarged by two and those of an earlier pool added, which see less but know better where;
    then they are enlarged by eight. Enlarging is a transposed convolution that starts as bilinear
    interpolation; the scores of the pools start at zero, as the authors have it.

    Padding keeps sizes (the authors pad the image by 100 pixels and crop). ``small`` is for 64×64
    pixels: VGG-11, a quarter as wide, and 3×3 filters in place of 7×7 after the last pool.
    ``features`` has torchvision's names, so weights of its VGG can be loaded into it.

    >>> net = FCN8s(num_classes=4, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 4, 64, 64])

    Raises:
        ValueError: in ``forward``, height or width is no multiple of 32.
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
        self.input_shape = (in_channels, 64, 64) if small else (in_channels, 224, 224)
        depths, widths = (VGG11.depths, SMALL_WIDTHS) if small else (VGG16.depths, WIDTHS)
        hidden, filter = (256, 3) if small else (4096, 7)
        self.features = vgg_features(layers, in_channels, depths, widths)
        self.classifier = nn.Sequential(
            layers.Conv2d(widths[-1], hidden, kernel_size=filter, padding=filter // 2),
            nn.ReLU(),
            nn.Dropout2d(),
            layers.Conv2d(hidden, hidden, kernel_size=1),
            nn.ReLU(),
            nn.Dropout2d(),
            layers.Conv2d(hidden, num_classes, kernel_size=1),
        )
        self.score_pool3 = layers.Conv2d(widths[2], num_classes, kernel_size=1)
        self.score_pool4 = layers.Conv2d(widths[3], num_classes, kernel_size=1)

        def enlarge(by: int) -> Any:
            return layers.ConvTranspose2d(
                num_classes, num_classes, 2 * by, stride=by, padding=by // 2, bias=False
            )

        self.upscore2, self.upscore_pool4, self.upscore8 = enlarge(2), enlarge(2), enlarge(8)
        initialise(self, "he")
        for layer in (self.upscore2, self.upscore_pool4, self.upscore8):
            _interpolate(layer.weight)
        for layer in (self.score_pool3, self.score_pool4):
            nn.init.zeros_(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        require_multiple(images, 32, "FCN-8s")
        x, pools = images, []
        for module in self.features:
            x = module(x)
            if isinstance(module, nn.MaxPool2d):
                pools.append(x)
        scores = self.upscore2(self.classifier(x)) + self.score_pool4(pools[3])
        scores = self.upscore_pool4(scores) + self.score_pool3(pools[2])
        logits: Tensor = self.upscore8(scores)
        return logits
