"""The five augmentations of training images, by torchvision: how the next picture may differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnkern.data import Dataset

AUGMENTATIONS = {
    "crop": "a part of 70 to 100 % of the image, stretched by up to 10 %, scaled to the old size",
    "translate": "moved by up to 1/16 of the size, two pixels of 32",
    "mirror": "left and right exchanged, every second time",
    "rotate": "by up to ten degrees",
    "photometric": "brightness, contrast and saturation by up to 30 %, hue by up to 5 %",
}


class Augment:
    """Distorts each image by random amounts of its own, which its seed determines.

    The images become pixels from 0 to 1 again for that: colours are changed as colours, and what
    comes in from outside is black.

    Args:
        names: of ``AUGMENTATIONS``; the order does not matter.
        data: whose normalisation the images have.

    Raises:
        ValueError: the data are texts, or ``photometric`` for neither grey nor coloured images.
    """

    def __init__(self, names: Sequence[str], data: Dataset) -> None:
        from torchvision.transforms import InterpolationMode, v2

        if data.vocabulary:
            raise ValueError("texts cannot be augmented: leave the augmentations out")
        if "photometric" in names and data.channels not in (1, 3):
            raise ValueError(
                f"photometric augmentation takes images of 1 or 3 channels, not {data.channels}"
            )
        size = data.train_images.shape[-2:]
        bilinear = InterpolationMode.BILINEAR
        distortions: list[Any] = []
        if "crop" in names:
            distortions.append(v2.RandomResizedCrop(size, (0.7, 1), (0.9, 1.1)))
        if "translate" in names or "rotate" in names:
            shift = (1 / 16, 1 / 16) if "translate" in names else None
            degrees = 10 if "rotate" in names else 0
            distortions.append(v2.RandomAffine(degrees, shift, interpolation=bilinear))
        if "mirror" in names:
            distortions.append(v2.RandomHorizontalFlip())
        if "photometric" in names:
            distortions.append(v2.ColorJitter(0.3, 0.3, 0.3, 0.05))
        self._distort = v2.Compose(distortions)
        self._normalize = v2.Normalize(data.mean.tolist(), data.std.tolist())
        self._pixels = data.pixels

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """(N, C, H, W) normalised images on the CPU, distorted; ``seeds`` has one an image.

        torch's global generator is left with the last seed.
        """
        distorted = []
        for image, seed in zip(self._pixels(images).clamp(0, 1), seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            distorted.append(self._distort(image))
        normalized: Tensor = self._normalize(torch.stack(distorted))
        return normalized
