"""ResNet-18 and ResNet-50 of He, Zhang, Ren, Sun (2016); parameter names are torchvision's."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers


class BasicBlock(nn.Module):
    """x + two 3×3 convolutions of x; where the size changes, x goes through a 1×1 convolution."""

    expansion: ClassVar[int] = 1

    def __init__(self, layers: Layers, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = layers.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = layers.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(layers, in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + shortcut)


class Bottleneck(nn.Module):
    """x + (1×1 to ``width`` channels, 3×3, 1×1 to four times ``width``); the stride is the 3×3's.

    The paper has the stride at the first 1×1, which drops three pixels of four unseen.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, layers: Layers, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = layers.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = layers.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = layers.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = _shortcut(layers, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + shortcut)


def _shortcut(layers: Layers, inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """None where the identity fits."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        layers.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )


class ResNet(Model):
    """(N, in_channels, H, W) images to (N, num_classes) logits.

    ``small`` is for 32×32 pixels, with the stem that the paper uses for them: one 3×3 convolution
    with stride 1 and no pool. Layers are a quarter as wide.

    >>> net = ResNet18(num_classes=10, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 10])
    """

    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    depths: ClassVar[tuple[int, int, int, int]]

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
        width = 16 if small else 64
        filter, stride = (3, 1) if small else (7, 2)
        self.conv1 = layers.Conv2d(
            in_channels, width, filter, stride, padding=filter // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = (
            nn.Identity() if small else layers.MaxPool2d(kernel_size=3, stride=2, padding=1)
        )
        self.layer1 = self._stage(layers, width, width, self.depths[0], stride=1)
        outputs = width * self.block.expansion
        self.layer2 = self._stage(layers, outputs, 2 * width, self.depths[1], stride=2)
        self.layer3 = self._stage(layers, 2 * outputs, 4 * width, self.depths[2], stride=2)
        self.layer4 = self._stage(layers, 4 * outputs, 8 * width, self.depths[3], stride=2)
        self.avgpool = layers.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * outputs, num_classes)
        initialise(self, "he")

    def _stage(
        self, layers: Layers, in_channels: int, width: int, depth: int, stride: int
    ) -> nn.Sequential:
        first = self.block(layers, in_channels, width, stride)
        outputs = width * self.block.expansion
        rest = [self.block(layers, outputs, width, 1) for _ in range(depth - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class ResNet18(ResNet):
    """Two blocks of two 3×3 convolutions a stage."""

    block = BasicBlock
    depths = (2, 2, 2, 2)


class ResNet50(ResNet):
    """3, 4, 6 and 3 bottlenecks."""

    block = Bottleneck
    depths = (3, 4, 6, 3)
