"""GoogLeNet (Inception v1) of Szegedy et al. (2015); parameter names are torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers

AUXILIARY_WEIGHT = 0.3  # of each auxiliary classifier's loss, section 5 of the paper


class GoogLeNetOutputs(NamedTuple):
    """Logits of the classifier, and of the auxiliary ones after 4d and after 4a."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor

    def loss(
        self, labels: Tensor, criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    ) -> Tensor:
        """Cross-entropy (or another criterion) of all three, the auxiliary ones at 0.3."""
        auxiliary = sum(criterion(logits, labels) for logits in self[1:])
        return criterion(self.logits, labels) + AUXILIARY_WEIGHT * auxiliary


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation (which the first GoogLeNet did without), ReLU."""

    def __init__(self, layers: Layers, inputs: int, outputs: int, **kwargs: Any) -> None:
        super().__init__()
        self.conv = layers.Conv2d(inputs, outputs, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """1×1, 3×3 and 5×5 filters and a max pool side by side; 1×1 filters before the large ones.

    As in torchvision, whose weights this is to load, the paper's 5×5 filters are 3×3.
    """

    def __init__(
        self,
        layers: Layers,
        inputs: int,
        n1x1: int,
        n3x3_reduce: int,
        n3x3: int,
        n5x5_reduce: int,
        n5x5: int,
        pool: int,
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(layers, inputs, n1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            BasicConv2d(layers, inputs, n3x3_reduce, kernel_size=1),
            BasicConv2d(layers, n3x3_reduce, n3x3, kernel_size=3, padding=1),
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(layers, inputs, n5x5_reduce, kernel_size=1),
            BasicConv2d(layers, n5x5_reduce, n5x5, kernel_size=3, padding=1),
        )
        self.branch4 = nn.Sequential(
            layers.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True),
            BasicConv2d(layers, inputs, pool, kernel_size=1),
        )
        self.outputs = n1x1 + n3x3 + n5x5 + pool

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """A classifier half-way, which brings the gradient to the early layers; unused afterwards."""

    def __init__(
        self, layers: Layers, inputs: int, width: int, hidden: int, num_classes: int
    ) -> None:
        super().__init__()
        self.pool = layers.AdaptiveAvgPool2d(4)
        self.conv = BasicConv2d(layers, inputs, width, kernel_size=1)
        self.fc1 = nn.Linear(width * 4 * 4, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(self.conv(self.pool(x)).flatten(1)))
        logits: Tensor = self.fc2(self.dropout(x))
        return logits


class GoogLeNet(Model):
    """(N, in_channels, H, W) images to (N, num_classes) logits; in training, `GoogLeNetOutputs`.

    ``small`` is for 32×32 pixels: the first filters are 3×3 with stride 1 instead of 7×7 with
    stride 2, and layers are a quarter as wide.

    >>> net = GoogLeNet(num_classes=10, small=True).eval()
    >>> net(net.example()).shape
    torch.Size([1, 10])
    >>> net.train()(net.example(2)).aux_logits1.shape
    torch.Size([2, 10])
    """

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
        divisor = 4 if small else 1

        def inception(inputs: int, *widths: int) -> Inception:
            return Inception(layers, inputs, *(width // divisor for width in widths))

        def pool(filter: int) -> Any:
            return layers.MaxPool2d(kernel_size=filter, stride=2, ceil_mode=True)

        stem, wide = 64 // divisor, 192 // divisor
        filter, stride = (3, 1) if small else (7, 2)
        self.conv1 = BasicConv2d(
            layers, in_channels, stem, kernel_size=filter, stride=stride, padding=filter // 2
        )
        self.maxpool1 = pool(3)
        self.conv2 = BasicConv2d(layers, stem, stem, kernel_size=1)
        self.conv3 = BasicConv2d(layers, stem, wide, kernel_size=3, padding=1)
        self.maxpool2 = pool(3)
        self.inception3a = inception(wide, 64, 96, 128, 16, 32, 32)
        self.inception3b = inception(self.inception3a.outputs, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = pool(3)
        self.inception4a = inception(self.inception3b.outputs, 192, 96, 208, 16, 48, 64)
        self.inception4b = inception(self.inception4a.outputs, 160, 112, 224, 24, 64, 64)
        self.inception4c = inception(self.inception4b.outputs, 128, 128, 256, 24, 64, 64)
        self.inception4d = inception(self.inception4c.outputs, 112, 144, 288, 32, 64, 64)
        self.inception4e = inception(self.inception4d.outputs, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = pool(2)
        self.inception5a = inception(self.inception4e.outputs, 256, 160, 320, 32, 128, 128)
        self.inception5b = inception(self.inception5a.outputs, 384, 192, 384, 48, 128, 128)
        sizes = 128 // divisor, 1024 // divisor, num_classes
        self.aux1 = InceptionAux(layers, self.inception4a.outputs, *sizes)
        self.aux2 = InceptionAux(layers, self.inception4d.outputs, *sizes)
        self.avgpool = layers.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(self.inception5b.outputs, num_classes)
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor | GoogLeNetOutputs:
        x = self.maxpool1(self.conv1(images))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        after_4a = self.inception4a(x)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.maxpool4(self.inception4e(after_4d))
        x = self.inception5b(self.inception5a(x))
        logits: Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        if not self.training:
            return logits
        return GoogLeNetOutputs(logits, self.aux2(after_4d), self.aux1(after_4a))
