"""Networks that name the action in a clip: C3D and the two-stream network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, conv_norm, default_layers

# Filters of C3D's stages, of as many convolutions as numbers.
STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
SMALL_STAGES = ((16,), (32,), (64,))


class C3D(Model):
    """(N, in_channels, frames, H, W) clips to (N, num_classes) logits.

    Convolutional 3D of Tran et al. (2015): 3×3×3 filters see a place and its motion. The first
    pool leaves time alone, so that early filters see every frame; the later ones halve it too.
    16 frames of 112×112 pixels as published; ``small`` is for eight of 32×32: three stages of
    one convolution with batch normalisation, a mean over what is left, and one linear layer.

    >>> net = C3D(num_classes=8, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 8])
    """

    task = "action recognition"

    def __init__(
        self,
        num_classes: int = 487,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (in_channels, 8, 32, 32) if small else (in_channels, 16, 112, 112)
        modules: list[nn.Module] = []
        inputs = in_channels
        for number, stage in enumerate(SMALL_STAGES if small else STAGES):
            for width in stage:
                modules.append(layers.Conv3d(inputs, width, 3, padding=1, bias=not small))
                modules += [nn.BatchNorm3d(width)] if small else []
                modules.append(nn.ReLU())
                inputs = width
            # At stage five 7×7 pixels are left; with a border the pool makes them 4×4.
            border = (0, 1, 1) if number == 4 else 0
            modules.append(layers.MaxPool3d((1, 2, 2) if number == 0 else 2, padding=border))
        self.features = nn.Sequential(*modules)
        self.avgpool = layers.AdaptiveAvgPool3d(1 if small else (1, 4, 4))
        self.classifier = (
            nn.Sequential(nn.Linear(inputs, num_classes))
            if small
            else nn.Sequential(
                nn.Linear(inputs * 4 * 4, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, num_classes),
            )
        )
        initialise(self, "he")

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(clips)).flatten(1))
        return logits


class TwoStream(Model):
    """(N, in_channels, frames, H, W) clips to (N, num_classes) logits.

    Simonyan and Zisserman (2014): one 2-d network sees what is there, in the middle frame; another
    sees what moves, in a stack of all frames' motion. The probabilities of both are averaged; the
    logits returned are the average's logarithms. Motion is the difference of consecutive frames,
    averaged over colours, in place of the paper's optical flow: no pre-processing, and nearly as
    good (Wang et al., 2016, "RGB difference").

    Each stream is the paper's CNN-M-2048 with batch normalisation for its local one. Eleven frames
    of 224×224 pixels give ten differences; ``small`` is for eight frames of 32×32.

    >>> net = TwoStream(num_classes=8, small=True)
    >>> round(net(net.example()).exp().sum().item(), 4)  # probabilities
    1.0
    """

    task = "action recognition"

    def __init__(
        self,
        num_classes: int = 101,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (in_channels, 8, 32, 32) if small else (in_channels, 11, 224, 224)
        stream = _small_stream if small else _stream
        self.spatial = stream(layers, in_channels, num_classes)
        self.temporal = stream(layers, self.input_shape[1] - 1, num_classes)
        initialise(self, "he")

    def forward(self, clips: Tensor) -> Tensor:
        frame = clips[:, :, clips.shape[2] // 2]
        motion = clips.diff(dim=2).mean(dim=1)
        both = torch.stack(
            [F.log_softmax(self.spatial(frame), 1), F.log_softmax(self.temporal(motion), 1)]
        )
        return both.logsumexp(0) - math.log(2)


def _stream(layers: Layers, in_channels: int, num_classes: int) -> nn.Sequential:
    """conv1 to conv5, full6, full7 and the scores."""
    return nn.Sequential(
        conv_norm(layers, in_channels, 96, 7, nn.ReLU(), stride=2),
        layers.MaxPool2d(kernel_size=3, stride=2),
        conv_norm(layers, 96, 256, 5, nn.ReLU(), stride=2),
        layers.MaxPool2d(kernel_size=3, stride=2),
        conv_norm(layers, 256, 512, 3, nn.ReLU()),
        conv_norm(layers, 512, 512, 3, nn.ReLU()),
        conv_norm(layers, 512, 512, 3, nn.ReLU()),
        layers.MaxPool2d(kernel_size=3, stride=2),
        layers.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Linear(512 * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 2048),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(2048, num_classes),
    )


def _small_stream(layers: Layers, in_channels: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        conv_norm(layers, in_channels, 32, 3, nn.ReLU()),
        layers.MaxPool2d(2),
        conv_norm(layers, 32, 64, 3, nn.ReLU()),
        layers.MaxPool2d(2),
        conv_norm(layers, 64, 128, 3, nn.ReLU()),
        layers.MaxPool2d(2),
        layers.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128 * 2 * 2, num_classes),
    )
