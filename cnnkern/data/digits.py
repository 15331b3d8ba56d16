"""Handwritten digits: scikit-learn's 1,797 of 8×8 pixels, and OpenCV's 5,000 of 20×20."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnkern.data.dataset import Dataset, NotInstalledError, fit_to, held_out, normalized

OPENCV_FILE = Path("/usr/share/doc/opencv-doc/examples/data/digits.png")
_SIDE = 20  # pixels of a digit; the picture has 50 rows of 100, five rows a class


def load_digits(seed: int = 0, size: int = 32) -> Dataset:
    """scikit-learn's, which come with the package; ``seed`` draws the fifth that is held out."""
    from sklearn import datasets

    raw = datasets.load_digits()
    images = torch.from_numpy(raw.images).to(torch.float32)[:, None] / 16
    return _split("digits", images, torch.from_numpy(raw.target).to(torch.int64), seed, size)


def load_opencv_digits(seed: int = 0, size: int = 32, file: str | Path = OPENCV_FILE) -> Dataset:
    """Those of OpenCV's documentation; ``seed`` draws the fifth that is held out.

    Args:
        file: the picture of 2000×1000 pixels; ``file.gz`` is read if only that is there, which is
            how some releases of Debian pack it.

    Raises:
        NotInstalledError: neither file is there.
        ValueError: it is another picture.
    """
    from PIL import Image

    path = Path(file)
    packed = path.with_name(f"{path.name}.gz")
    if path.exists():
        content = path.read_bytes()
    elif packed.exists():
        content = gzip.decompress(packed.read_bytes())
    else:
        raise NotInstalledError(f"{path}: no such file; Debian's package opencv-doc brings it")
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.float32)
    if picture.shape != (50 * _SIDE, 100 * _SIDE):
        height, width = picture.shape
        raise ValueError(f"{path}: {width}×{height} pixels, but the digits take 2000×1000")
    cells = torch.from_numpy(picture / 255).unfold(0, _SIDE, _SIDE).unfold(1, _SIDE, _SIDE)
    images = cells.reshape(-1, 1, _SIDE, _SIDE)
    labels = torch.arange(10).repeat_interleave(len(images) // 10)
    return _split("opencv-digits", images, labels, seed, size)


def _split(name: str, images: Tensor, labels: Tensor, seed: int, size: int) -> Dataset:
    train, test = held_out(name, labels.tolist(), seed)
    images = fit_to(images, size)
    return normalized(name, (images[train], labels[train]), (images[test], labels[test]))
