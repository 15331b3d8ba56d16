"""MobileNetV2 of Sandler et al. (2018); parameter names are torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, conv_norm, default_layers

# Table 2 of the paper: expansion, channels, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1×1 to many channels, 3×3 in each channel by itself, 1×1 back to few, without activation."""

    def __init__(
        self, layers: Layers, inputs: int, outputs: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        modules: list[nn.Module] = []
        if expansion != 1:
            modules.append(conv_norm(layers, inputs, hidden, 1, nn.ReLU6()))
        modules.append(
            conv_norm(layers, hidden, hidden, 3, nn.ReLU6(), stride=stride, groups=hidden)
        )
        modules += conv_norm(layers, hidden, outputs, 1)
        self.conv = nn.Sequential(*modules)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(Model):
    """(N, in_channels, H, W) images to (N, num_classes) logits.

    ``small`` is for 32×32 pixels: the first two of the five strides of 2 are 1, layers are half as
    wide, the last a quarter.

    >>> net = MobileNetV2(num_classes=10, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 10])
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
        divisor, last = (2, 320) if small else (1, 1280)
        channels = 32 // divisor
        modules: list[nn.Module] = [
            conv_norm(layers, in_channels, channels, 3, nn.ReLU6(), stride=1 if small else 2)
        ]
        for stage, (expansion, width, blocks, stride) in enumerate(STAGES):
            first_stride = 1 if small and stage == 1 else stride
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                outputs = width // divisor
                modules.append(InvertedResidual(layers, channels, outputs, stride, expansion))
                channels = outputs
        modules.append(conv_norm(layers, channels, last, 1, nn.ReLU6()))
        self.features = nn.Sequential(*modules)
        self.avgpool = layers.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        x = self.avgpool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits
