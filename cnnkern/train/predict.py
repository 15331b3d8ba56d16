"""A trained network's answers about new images and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnkern.data import encode, read_image
from cnnkern.models import create
from cnnkern.models.model import Layers
from cnnkern.train.checkpoint import load_checkpoint
from cnnkern.train.loop import compute_logits

AVERAGES = ("none", "five-crop", "ten-crop")
ENLARGEMENT = 8 / 7  # before crops are taken: 256 pixels for 224, as Krizhevsky et al. (2012) did


def probabilities(model: nn.Module, images: Tensor, average: str = "none") -> Tensor:
    """(N, classes) float32 softmax of a network's logits.

    Args:
        images: (N, C, H, W), normalised; tokens (N, length) if ``average`` is none.
        average: ``five-crop`` takes the mean over the image's corners and centre (7/8 of it, scaled
            back to H×W), ``ten-crop`` over these and their mirror images.

    Raises:
        ValueError: an unknown ``average``.
    """
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)}, but is '{average}'")
    if average == "none":
        return compute_logits(model, images).softmax(1).cpu()
    from torchvision.transforms import v2

    height, width = images.shape[-2:]
    larger = v2.Resize([round(height * ENLARGEMENT), round(width * ENLARGEMENT)], antialias=True)
    crop = (v2.FiveCrop if average == "five-crop" else v2.TenCrop)((height, width))
    crops = torch.stack([compute_logits(model, part).softmax(1) for part in crop(larger(images))])
    return crops.mean(0).cpu()


@dataclass
class Predictor:
    """A network with what it needs to know about its input."""

    model: nn.Module
    class_names: tuple[str, ...]
    mean: Tensor
    std: Tensor
    vocabulary: tuple[str, ...]
    input_shape: tuple[int, ...]

    def images(self, files: Sequence[str | Path], average: str = "none") -> Tensor:
        """(N, classes) probabilities for picture files.

        Raises:
            ValueError: the network reads texts, or a file is no picture.
        """
        if self.vocabulary:
            raise ValueError("the network reads texts, not pictures")
        channels, size, _ = self.input_shape
        pixels = torch.stack([read_image(file, size, channels) for file in files])
        normalized = (pixels - self.mean[:, None, None]) / self.std[:, None, None]
        return probabilities(self.model, normalized, average)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, classes) probabilities for texts.

        Raises:
            ValueError: the network reads pictures.
        """
        if not self.vocabulary:
            raise ValueError("the network reads pictures, not texts")
        tokens = encode(texts, self.vocabulary, self.input_shape[0])
        return probabilities(self.model, tokens)


def load_predictor(
    path: str | Path, layers: Layers | None = None, device: str = "cpu"
) -> Predictor:
    """The network of a checkpoint that ``cnnkern train`` wrote, whatever layers it was trained on.

    Raises:
        ValueError: the file is none, or its network is not of the registry.
    """
    checkpoint = load_checkpoint(path)
    if not checkpoint.recipe:
        raise ValueError(f"{path}: its network is not one of the registry (cnnkern models)")
    model = create(checkpoint.recipe["name"], layers=layers, **checkpoint.recipe["arguments"])
    model.load_state_dict(checkpoint.model)
    data = checkpoint.data
    return Predictor(
        model.to(device),
        data["class_names"],
        data["mean"],
        data["std"],
        data["vocabulary"],
        model.input_shape,
    )
