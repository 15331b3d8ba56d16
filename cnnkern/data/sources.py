"""Data by name or by folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cnnkern.data.dataset import Dataset, NotInstalledError
from cnnkern.data.digits import load_digits, load_opencv_digits
from cnnkern.data.idx import holds_idx, load_idx
from cnnkern.data.images import load_images
from cnnkern.data.texts import load_texts

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def load_fashion_mnist(size: int = 32) -> Dataset:
    """60,000 + 10,000 grey pictures of clothes, in ten classes, from Debian's package.

    Raises:
        NotInstalledError: the package is not installed.
    """
    if not FASHION_MNIST.exists():
        raise NotInstalledError(
            f"{FASHION_MNIST}: no such folder; Debian's package dataset-fashion-mnist brings it"
        )
    return replace(load_idx(FASHION_MNIST, size), class_names=CLOTHES)


_NAMED: dict[str, Callable[[int, int], Dataset]] = {
    "digits": lambda size, seed: load_digits(seed, size),
    "fashion-mnist": lambda size, seed: load_fashion_mnist(size),
    "opencv-digits": lambda size, seed: load_opencv_digits(seed, size),
}


def load(source: str | Path, size: int = 32, seed: int = 0) -> Dataset:
    """A data set by name, or whatever a folder holds: IDX files, pictures or texts by class.

    Args:
        source: ``digits``, ``fashion-mnist``, ``opencv-digits``, or a path.
        size: pixels a side of an image, words of a text.
        seed: draws what is held out, where the source does not say.

    Raises:
        ValueError: there is neither such a name nor such a path, or what it holds is damaged.
    """
    if str(source) in _NAMED:
        return _NAMED[str(source)](size, seed)
    path = Path(source)
    if not path.exists():
        names = ", ".join(_NAMED)
        raise ValueError(f"{path}: no such file or folder, nor a data set's name ({names})")
    if path.is_file() or holds_idx(path):
        return load_idx(path, size)
    return load_images(path, size, seed) if _holds_images(path) else load_texts(path, size, seed)


def _holds_images(folder: Path) -> bool:
    from torchvision.datasets.folder import is_image_file

    return any(is_image_file(file.name) for file in folder.rglob("*"))
