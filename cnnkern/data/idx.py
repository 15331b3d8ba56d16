"""Reads the IDX files of MNIST and its kin (Fashion-MNIST, EMNIST), plain or gzip-compressed.

The format (Y. LeCun's MNIST page): two zero bytes, a type code, the number of axes, each axis'
size as a big-endian int32, then the elements in row-major order.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnkern.data.dataset import Dataset, fit_to, normalized

_UNSIGNED_BYTE = 0x08
_FILE = re.compile(
    r"(?P<prefix>.*?)(?P<set>train|t10k|test)-(?P<kind>images|labels)[.-]idx[13]-ubyte(\.gz)?"
)


def read_idx(path: str | Path) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, as an array of the shape that its header gives.

    Raises:
        ValueError: the file is not what it should be; the message names the file and says why.
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file (it does not begin with two zero bytes)")
    type_code, axes = content[2], content[3]
    if type_code != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path}: elements of IDX type 0x{type_code:02x}; only unsigned bytes (0x08) are read"
        )
    header = 4 + 4 * axes
    if axes == 0 or len(content) < header:
        raise ValueError(f"{path}: the IDX header of {axes} axes is cut short")
    shape = struct.unpack(f">{axes}I", content[4:header])
    expected, found = math.prod(shape), len(content) - header
    if expected != found:
        sizes = "x".join(map(str, shape))
        raise ValueError(f"{path}: {sizes} needs {expected} bytes, but {found} follow the header")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def holds_idx(path: Path) -> bool:
    """Whether ``path`` is a file of such a set, or a folder with one."""
    files = path.iterdir() if path.is_dir() else [path]
    return any(_FILE.fullmatch(file.name) for file in files)


def load_idx(path: str | Path, size: int = 32) -> Dataset:
    """The four files of a data set: images and labels, for training (train-) and test (t10k-).

    Args:
        path: their folder, or one of the four, if the folder holds several data sets.
        size: pixels a side of the images that are returned.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    found: dict[str, dict[tuple[str, str], Path]] = {}
    for file in sorted(folder.iterdir()):
        if match := _FILE.fullmatch(file.name):
            part = ("train" if match["set"] == "train" else "test", match["kind"])
            found.setdefault(match["prefix"], {}).setdefault(part, file)
    if path.is_file():
        match = _FILE.fullmatch(path.name)
        if not match:
            raise ValueError(f"{path}: not named like train-images-idx3-ubyte (or .gz)")
        prefix = match["prefix"]
    elif len(found) > 1:
        names = ", ".join(sorted(next(iter(parts.values())).name for parts in found.values()))
        raise ValueError(
            f"{path}: holds several data sets; name one file of the one meant: {names}"
        )
    else:
        prefix = next(iter(found), "")
    files = found.get(prefix, {})
    for part in ("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels"):
        if part not in files:
            kind = "idx3" if part[1] == "images" else "idx1"
            name = f"{prefix}{part[0].replace('test', 't10k')}-{part[1]}-{kind}-ubyte"
            raise ValueError(f"{folder}: {name} (or {name}.gz) is missing")
    return normalized(
        prefix.strip("-_.") or folder.resolve().name,
        _load_part(files["train", "images"], files["train", "labels"], size),
        _load_part(files["test", "images"], files["test", "labels"], size),
    )


def _load_part(image_file: Path, label_file: Path, size: int) -> tuple[Tensor, Tensor]:
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3:
        raise ValueError(f"{image_file}: {images.ndim} axes, but images have 3 (N, H, W)")
    if labels.ndim != 1:
        raise ValueError(f"{label_file}: {labels.ndim} axes, but labels have 1 (N)")
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"{image_file}: {len(images)} images, but {len(labels)} labels")
    pixels = torch.from_numpy(images.astype(np.float32)) / 255
    return fit_to(pixels[:, None], size), torch.from_numpy(labels.astype(np.int64))
