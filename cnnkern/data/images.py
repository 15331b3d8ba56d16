"""A folder of images by class: one folder a class, named like it, any format that Pillow reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cnnkern.data.dataset import Dataset, held_out, normalized

GREY = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's names of pictures without colour


def read_image(path: str | Path, size: int, channels: int) -> Tensor:
    """(channels, size, size) float32 from 0 to 1: the square around the centre, scaled.

    Args:
        channels: 1 for grey, 3 for red, green and blue; the picture is converted.

    Raises:
        ValueError: Pillow cannot read the file; the message names it.
    """
    from PIL import Image
    from torchvision.transforms import v2

    prepare = v2.Compose(
        [
            v2.Resize(size, antialias=True),
            v2.CenterCrop(size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    try:
        with Image.open(path) as picture:
            image: Tensor = prepare(picture.convert("L" if channels == 1 else "RGB"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error
    return image.as_subclass(Tensor)


def load_images(folder: str | Path, size: int = 32, seed: int = 0) -> Dataset:
    """All pictures of a folder of classes; grey if every one is.

    Args:
        folder: holds one folder a class, or ``train`` and ``test``, each with one folder a class.
        size: pixels a side to which the square around each picture's centre is scaled.
        seed: draws the stratified fifth that is held out if there is no ``test``.

    Raises:
        ValueError: there are no classes, a class is empty, or a picture is damaged.
    """
    folder = Path(folder)
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        names, train = _samples(folder / "train")
        test_names, test = _samples(folder / "test")
        if names != test_names:
            other = ", ".join(sorted(set(names) ^ set(test_names)))
            raise ValueError(f"{folder}: train and test have other classes ({other})")
    else:
        names, samples = _samples(folder)
        first, second = held_out(folder, [label for _, label in samples], seed)
        train, test = [samples[i] for i in first], [samples[i] for i in second]
    channels = 1 if all(_is_grey(path) for path, _ in (*train, *test)) else 3
    return normalized(
        folder.resolve().name, _read(train, size, channels), _read(test, size, channels), names
    )


def _samples(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(folder)
    except FileNotFoundError as error:  # torchvision's word for an empty class
        raise ValueError(f"{folder}: {error}") from error
    return found.classes, found.samples


def _is_grey(path: str) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:  # reads the header alone
            return picture.mode in GREY
    except OSError as error:
        raise ValueError(f"{path}: not a readable picture ({error})") from error


def _read(samples: Sequence[tuple[str, int]], size: int, channels: int) -> tuple[Tensor, Tensor]:
    images = torch.stack([read_image(path, size, channels) for path, _ in samples])
    return images, torch.tensor([label for _, label in samples])
