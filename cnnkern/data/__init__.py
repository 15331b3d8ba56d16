"""Labelled images, normalised per channel, and labelled texts, by name or from a folder."""

from cnnkern.data.dataset import Dataset, NotInstalledError, normalized
from cnnkern.data.digits import load_digits, load_opencv_digits
from cnnkern.data.idx import load_idx, read_idx
from cnnkern.data.images import load_images, read_image
from cnnkern.data.sources import load, load_fashion_mnist
from cnnkern.data.texts import encode, load_texts

__all__ = [
    "Dataset",
    "NotInstalledError",
    "encode",
    "load",
    "load_digits",
    "load_fashion_mnist",
    "load_idx",
    "load_images",
    "load_opencv_digits",
    "load_texts",
    "normalized",
    "read_idx",
    "read_image",
]
