"""SSD, the single-shot detector of Liu et al. (2016); parameter names are torchvision's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, conv_norm, default_layers
from cnnkern.models.ssd_boxes import Detection, Grid, Truth, default_boxes, detect, multibox_loss
from cnnkern.models.vgg import VGG16, WIDTHS, vgg_features

# For each map: pixels a side, image pixels a step, size of boxes as a part of the image,
# aspect ratios beside 1. As in torchvision, the last size is only the next of the last map.
SSD300_GRIDS = (
    Grid(38, 8, 0.07, 0.15, (2,)),
    Grid(19, 16, 0.15, 0.33, (2, 3)),
    Grid(10, 32, 0.33, 0.51, (2, 3)),
    Grid(5, 64, 0.51, 0.69, (2, 3)),
    Grid(3, 100, 0.69, 0.87, (2,)),
    Grid(1, 300, 0.87, 1.05, (2,)),
)
SMALL_GRIDS = (
    Grid(16, 4, 0.15, 0.25, (2,)),
    Grid(8, 8, 0.25, 0.45, (2,)),
    Grid(4, 16, 0.45, 0.8, (2,)),
)


class SSDOutputs(NamedTuple):
    """For each of the A default boxes of N images: offsets (N, A, 4), logits (N, A, classes)."""

    offsets: Tensor
    logits: Tensor


class _VGGBackbone(nn.Module):
    """Maps of 38, 19, 10, 5, 3 and 1 pixels: VGG-16 until conv4_3, and what follows.

    VGG's linear layers are convolutions (fc6 with holes, for its wide view), then come pairs of a
    1×1 and a 3×3. The first map's values are much larger than the others', so each pixel is scaled
    to a norm that is learnt, channel by channel.
    """

    channels = (512, 1024, 512, 256, 256, 256)

    def __init__(self, layers: Layers, in_channels: int) -> None:
        super().__init__()
        vgg = list(vgg_features(layers, in_channels, VGG16.depths, WIDTHS))
        pools = [i for i, module in enumerate(vgg) if isinstance(module, nn.MaxPool2d)]
        vgg[pools[2]] = layers.MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)  # 75 to 38

        def extra(inputs: int, width: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                layers.Conv2d(inputs, width, kernel_size=1),
                nn.ReLU(),
                layers.Conv2d(width, outputs, 3, stride, padding=1 if stride == 2 else 0),
                nn.ReLU(),
            )

        fc = nn.Sequential(
            layers.MaxPool2d(kernel_size=3, stride=1, padding=1),
            layers.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
            nn.ReLU(),
            layers.Conv2d(1024, 1024, kernel_size=1),
            nn.ReLU(),
        )
        self.scale_weight = nn.Parameter(torch.full((512,), 20.0))
        self.features = nn.Sequential(*vgg[: pools[3]])
        self.extra = nn.ModuleList(
            [
                nn.Sequential(*vgg[pools[3] : -1], fc),
                extra(1024, 256, 512, stride=2),
                extra(512, 128, 256, stride=2),
                extra(256, 128, 256, stride=1),
                extra(256, 128, 256, stride=1),
            ]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.features(images)
        maps = [self.scale_weight[:, None, None] * F.normalize(x)]
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return maps


class _SmallBackbone(nn.Module):
    """Maps of 16, 8 and 4 pixels for 64×64."""

    channels = (64, 128, 128)

    def __init__(self, layers: Layers, in_channels: int) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                conv_norm(layers, inputs, outputs, 3, nn.ReLU()),
                conv_norm(layers, outputs, outputs, 3, nn.ReLU()),
                layers.MaxPool2d(2),
            )

        first = nn.Sequential(stage(in_channels, 32), stage(32, 64))
        self.stages = nn.ModuleList([first, stage(64, 128), stage(128, 128)])

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            maps.append(stage(maps[-1] if maps else images))
        return maps


class _Head(nn.Module):
    """On each map a 3×3 convolution that says ``numbers`` for each box of each pixel."""

    def __init__(
        self, layers: Layers, channels: tuple[int, ...], boxes: list[int], numbers: int
    ) -> None:
        super().__init__()
        self.numbers = numbers
        self.module_list = nn.ModuleList(
            layers.Conv2d(inputs, n * numbers, kernel_size=3, padding=1)
            for inputs, n in zip(channels, boxes)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(
            [
                conv(x).unflatten(1, (-1, self.numbers)).permute(0, 3, 4, 1, 2).flatten(1, 3)
                for conv, x in zip(self.module_list, maps)
            ],
            1,
        )


class SSD(Model):
    """(N, in_channels, 300, 300) images to `SSDOutputs`: one look, boxes of all sizes and places.

    Maps of falling resolution see objects of growing size. On every pixel of every map stand a few
    default boxes of several shapes, for each of which a convolution says what is in it and how far
    it is from the object's box. Class 0 is "nothing". ``loss`` compares with the truth, ``detect``
    gives the boxes found.

    The published network has 8732 default boxes; ``small`` sees 64×64 pixels and has 1344 on
    three maps of a backbone of six convolutions with batch normalisation.

    Args:
        num_classes: with class 0.
        in_channels, small, layers: as for every network.

    >>> net = SSD(num_classes=11, small=True).eval()
    >>> outputs = net(net.example())
    >>> outputs.offsets.shape, outputs.logits.shape
    (torch.Size([1, 1344, 4]), torch.Size([1, 1344, 11]))

    Raises:
        ValueError: in ``forward``, images have another size.
    """

    task = "object detection"
    default_boxes: Tensor

    def __init__(
        self,
        num_classes: int = 91,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.size, grids = (64, SMALL_GRIDS) if small else (300, SSD300_GRIDS)
        self.input_shape = (in_channels, self.size, self.size)
        backbone = _SmallBackbone if small else _VGGBackbone
        self.backbone = backbone(layers, in_channels)
        boxes = [grid.boxes_a_pixel for grid in grids]
        self.head = nn.ModuleDict(
            {
                "classification_head": _Head(layers, backbone.channels, boxes, num_classes),
                "regression_head": _Head(layers, backbone.channels, boxes, 4),
            }
        )
        initialise(self, "he")
        for conv in self.head.modules():  # begin with no opinion: the sums of others are large
            if isinstance(conv, nn.Conv2d):
                nn.init.normal_(conv.weight, std=0.01)
        # Not of the state_dict: a function of the size.
        self.register_buffer("default_boxes", default_boxes(grids, self.size), persistent=False)

    def forward(self, images: Tensor) -> SSDOutputs:
        height, width = images.shape[-2:]
        if (height, width) != (self.size, self.size):
            raise ValueError(f"SSD: images must be {self.size}×{self.size}, not {height}×{width}")
        maps = self.backbone(images)
        return SSDOutputs(
            self.head["regression_head"](maps), self.head["classification_head"](maps)
        )

    def loss(self, outputs: SSDOutputs, truths: list[Truth]) -> Tensor:
        """The paper's training loss; see `ssd_boxes.multibox_loss`."""
        return multibox_loss(*outputs, self.default_boxes, truths)

    def detect(
        self, outputs: SSDOutputs, least_score: float = 0.5, overlap: float = 0.45
    ) -> list[Detection]:
        """What is seen in each image; see `ssd_boxes.detect`."""
        return detect(*outputs, self.default_boxes, least_score, overlap)
