"""What a network looks at: maps of its layers, and which pixels an answer depends on.

Every function leaves the network's mode and its parameters' gradients as they are; put the network
into evaluation mode first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur


def feature_maps(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """What ``layer``, a part of ``model``, puts out for images (N, C, H, W)."""
    found: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        model(images)
    finally:
        handle.remove()
    if not found:
        raise ValueError("feature_maps: the layer took no part in the model's answer")
    return found[-1]


def excite(
    model: nn.Module,
    layer: nn.Module,
    units: Sequence[int],
    shape: Sequence[int],
    steps: int = 100,
    penalty: float = 0.05,
) -> Tensor:
    """For each unit the image from 0 to 1 that excites it most: (len(units), C, H, W).

    Gradient ascent from noise on the unit's output less ``penalty`` times ‖x‖² (Simonyan, Vedaldi,
    Zisserman, 2014). A blur after each step keeps noise away that no image has (Yosinski et al.,
    2015). A convolution's unit is a channel's middle place; random numbers come from torch's global
    generator.

    Args:
        model: takes images from 0 to 1.
        layer: a part of it, with an output (N, units) or (N, units, H, W).
        units: numbers of channels.
        shape: (C, H, W) of an image.
        steps: of the ascent.
        penalty: how much a bright pixel costs.
    """
    chosen = torch.arange(len(units)), torch.tensor(units)
    images = (0.5 + 0.1 * torch.randn(len(units), *shape)).clamp(0, 1)
    for _ in range(steps):
        images.requires_grad_()
        output = feature_maps(model, layer, images)[chosen]
        if output.ndim == 3:
            output = output[:, output.shape[1] // 2, output.shape[2] // 2]
        goal = output.sum() - penalty * images.square().sum()
        (gradient,) = torch.autograd.grad(goal, images)
        with torch.no_grad():
            size = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
            moved = images + gradient / size[:, None, None, None]
            images = gaussian_blur(moved, [5, 5], [1.0, 1.0]).clamp(0, 1)
    return images.detach()


def saliency(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """|∂(logit of the class)/∂pixel|, the largest of the channels: (N, H, W).

    Simonyan, Vedaldi, Zisserman (2014).

    Args:
        model: maps images (N, C, H, W) to logits (N, K).
        images: to explain.
        classes: (N,) int64, whose logits.
    """
    images = images.detach().requires_grad_()
    logits = model(images).gather(1, classes[:, None])
    return torch.autograd.grad(logits.sum(), images)[0].abs().amax(1)


def occlusion(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    size: int,
    stride: int = 1,
    value: float = 0.0,
) -> Tensor:
    """How much of the class's probability is lost with a square of each place hidden.

    Zeiler, Fergus (2014). The squares have their centres at every ``stride``-th pixel and are cut
    off at the rim: (N, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        model, images, classes: as for :func:`saliency`.
        size: of a square's side, in pixels.
        stride: from one square to the next.
        value: of the pixels in a square.
    """
    height, width = images.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)

    def hidden(centre: int, pixels: Tensor) -> Tensor:
        return (pixels >= centre - size // 2) & (pixels < centre - size // 2 + size)

    places = [(r, c) for r in range(0, height, stride) for c in range(0, width, stride)]
    masks = torch.stack([hidden(r, rows)[:, None] & hidden(c, columns) for r, c in places])
    lost = []
    with torch.no_grad():
        whole = model(images).softmax(1).gather(1, classes[:, None])
        for image, k in zip(images, classes.tolist()):
            covered = image.masked_fill(masks[:, None].to(images.device), value)
            lost.append(model(covered).softmax(1)[:, k])
    maps: Tensor = whole - torch.stack(lost)
    return maps.view(len(images), len(range(0, height, stride)), -1)
