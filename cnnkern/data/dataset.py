"""Two sets of labelled images, held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) float32, zero mean and unit variance per channel; labels (N,) int64.

    ``mean`` and ``std`` (C,) are those of the training images before they were normalised.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor

    @property
    def classes(self) -> int:
        return int(self.train_labels.max()) + 1

    @property
    def channels(self) -> int:
        return self.train_images.shape[1]

    def pixels(self, images: Tensor) -> Tensor:
        """Undoes the normalisation: images (N, C, H, W) as numbers from 0 to 1, for pictures."""
        return images * self.std[:, None, None] + self.mean[:, None, None]


def normalized(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
) -> Dataset:
    """Normalises both sets by the training set's statistics.

    Args:
        name: of the data set.
        train, test: images (N, C, H, W) float32 from 0 to 1, and labels (N,) int64.
    """
    (train_images, train_labels), (test_images, test_labels) = train, test
    mean = train_images.mean(dim=(0, 2, 3))
    # A channel that never changes has no variance; it stays zero instead of becoming NaN.
    std = train_images.std(dim=(0, 2, 3), correction=0).clamp_min(1e-6)

    def apply(images: Tensor) -> Tensor:
        return (images - mean[:, None, None]) / std[:, None, None]

    return Dataset(
        name, apply(train_images), train_labels, apply(test_images), test_labels, mean, std
    )


def fit_to_32(images: Tensor) -> Tensor:
    """(N, C, H, W) images from 0 to 1, brought to 32x32 as LeNet-5 wants them.

    Scaled to 28x28 by bicubic interpolation if they have another size, then given a border of two
    black pixels, so that strokes reach the centre of a 5x5 filter even at the image's rim.
    """
    if images.shape[-2:] != (28, 28):
        images = F.interpolate(images, size=(28, 28), mode="bicubic", align_corners=False)
    return F.pad(images.clamp(0, 1), (2, 2, 2, 2)).to(torch.float32)
