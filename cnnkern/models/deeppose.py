"""DeepPose of Toshev and Szegedy (2014): joints by regression, then refined in a cascade."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.models.alexnet import AlexNet
from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, conv_norm, default_layers

BOX = 0.5  # side of a joint's box over the pose's extent, the diagonal of its bounding box
LEAST_BOX = 0.25  # of the image, where the joints of a poor guess all lie together


class DeepPose(Model):
    """(N, in_channels, H, W) images to (N, stages, joints, 2) coordinates of joints.

    Coordinates are (x, y) from −1 at the left and upper edge to 1. The first stage sees the whole
    image and names all joints at once. Each later one looks again: it cuts a box around every
    joint as far as known, half as wide as the pose's extent, brings it to its own input size, and
    says how far the joint is from the box's centre. All joints share the stage's network, and each
    has its own outputs. Boxes are cut by bilinear sampling at detached places, so a stage learns to
    correct its predecessor without moving it, as if trained after it.

    Stages are AlexNets on 224×224 pixels. ``small`` is for images of 64×64 and boxes of 32×32, by
    four and three convolutions with batch normalisation, and pools.

    Args:
        joints: how many.
        stages: the first included.
        in_channels, small, layers: as for every network.

    >>> net = DeepPose(joints=5, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 3, 5, 2])
    """

    task = "pose estimation"

    def __init__(
        self,
        joints: int = 14,
        stages: int = 3,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.joints = joints
        self.box_pixels = 32 if small else 224
        self.input_shape = (in_channels, 64, 64) if small else (in_channels, 224, 224)
        self.stages = nn.ModuleList()
        for stage in range(stages):
            if small:
                depth = 4 if stage == 0 else 3
                self.stages.append(_small_regressor(layers, in_channels, 2 * joints, depth))
            else:
                self.stages.append(AlexNet(2 * joints, in_channels, layers=layers))
        initialise(self, "he")
        for network in self.stages:
            # Begin near the centre: of the image, or of the box, which changes little.
            *_, weight, _bias = network.parameters()
            nn.init.normal_(weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        first, *rest = self.stages
        poses = [first(images).unflatten(1, (self.joints, 2))]
        for stage in rest:
            poses.append(self._refine(stage, images, poses[-1].detach()))
        return torch.stack(poses, 1)

    def _refine(self, stage: nn.Module, images: Tensor, pose: Tensor) -> Tensor:
        """Looks at (N, C, H, W) images once more around each joint of (N, joints, 2) poses."""
        extent = (pose.amax(1) - pose.amin(1)).norm(dim=1)  # (N,): diagonal of the bounding box
        half = (BOX * extent / 2).clamp_min(LEAST_BOX)[:, None, None]  # of the box's side
        boxes = cut_boxes(images, pose, half, self.box_pixels)
        offsets = stage(boxes).unflatten(1, (self.joints, 2)).unflatten(0, pose.shape[:2])
        own = offsets.diagonal(dim1=1, dim2=2).transpose(1, 2)  # box j's answer for joint j
        refined: Tensor = pose + half * own
        return refined


def cut_boxes(images: Tensor, centres: Tensor, half: Tensor, pixels: int) -> Tensor:
    """Square boxes of images, zero outside: (N · joints, C, pixels, pixels), joints the faster.

    Args:
        images: (N, C, H, W).
        centres: (N, joints, 2), x and y from −1 to 1.
        half: half the boxes' side in the same units, (N, 1, 1).
        pixels: of the result.
    """
    n, joints = centres.shape[:2]
    middle = (torch.arange(pixels, device=images.device, dtype=images.dtype) + 0.5) / pixels
    step = (2 * middle - 1) * half  # (N, 1, pixels)
    x = (centres[..., 0, None] + step)[:, :, None, :].expand(-1, -1, pixels, -1)
    y = (centres[..., 1, None] + step)[:, :, :, None].expand(-1, -1, -1, pixels)
    # All of an image's boxes are one tall picture, so that no image need be copied for each.
    grid = torch.stack([x, y], -1).reshape(n, joints * pixels, pixels, 2)
    tall = F.grid_sample(images, grid, align_corners=False)
    boxes: Tensor = tall.unflatten(2, (joints, pixels)).transpose(1, 2).flatten(0, 1)
    return boxes


def _small_regressor(layers: Layers, in_channels: int, outputs: int, depth: int) -> nn.Sequential:
    """``depth`` times convolution and pool, down to 4×4 maps, and two linear layers."""
    widths = (32, 64, 128, 128)[:depth]
    modules: list[nn.Module] = []
    for width in widths:
        modules += [conv_norm(layers, in_channels, width, 3, nn.ReLU()), layers.MaxPool2d(2)]
        in_channels = width
    modules += [nn.Flatten(), nn.Linear(in_channels * 4 * 4, 128), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(128, outputs))
