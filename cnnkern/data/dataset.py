"""Two sets of labelled images, or of texts, held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


class NotInstalledError(ValueError):
    """The package that brings a data set is not installed; the message names it."""


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) float32, zero mean and unit variance per channel; labels (N,) int64.

    ``mean`` and ``std`` (C,) are those of the training images before they were normalised.
    ``class_names`` names label 0, 1, and so on. Texts take the images' place as (N, length) int64
    tokens: then ``vocabulary`` holds the words, and ``mean`` and ``std`` are empty.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor
    class_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        return len(self.class_names) or int(self.train_labels.max()) + 1

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
    class_names: Sequence[str] = (),
) -> Dataset:
    """Normalises both sets by the training set's statistics.

    Args:
        name: of the data set.
        train, test: images (N, C, H, W) float32 from 0 to 1, and labels (N,) int64.
        class_names: one a class; the labels' numbers if there are none.
    """
    (train_images, train_labels), (test_images, test_labels) = train, test
    mean = train_images.mean(dim=(0, 2, 3))
    # A channel that never changes has no variance; it stays zero instead of becoming NaN.
    std = train_images.std(dim=(0, 2, 3), correction=0).clamp_min(1e-6)
    names = tuple(class_names) or tuple(map(str, range(int(train_labels.max()) + 1)))

    def apply(images: Tensor) -> Tensor:
        return (images - mean[:, None, None]) / std[:, None, None]

    return Dataset(
        name, apply(train_images), train_labels, apply(test_images), test_labels, mean, std, names
    )


def held_out(source: object, labels: Sequence[int], seed: int) -> tuple[list[int], list[int]]:
    """Positions for training and for the stratified fifth that is held out, drawn by ``seed``."""
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            range(len(labels)), test_size=0.2, stratify=labels, random_state=seed
        )
    except ValueError as error:  # too few of a class
        raise ValueError(f"{source}: a fifth cannot be held out: {error}") from error
    return train, test


def fit_to(images: Tensor, size: int = 32) -> Tensor:
    """(N, C, H, W) images from 0 to 1, brought to ``size`` pixels square as LeNet-5 wants them.

    Scaled to 7/8 of that (28×28 of 32×32) by bicubic interpolation if they have another size, then
    given a black border, so that strokes reach the centre of a 5×5 filter even at the image's rim.
    """
    border = size // 16
    inner = size - 2 * border
    if images.shape[-2:] != (inner, inner):
        images = F.interpolate(images, size=(inner, inner), mode="bicubic", align_corners=False)
    return F.pad(images.clamp(0, 1), (border,) * 4).to(torch.float32)
