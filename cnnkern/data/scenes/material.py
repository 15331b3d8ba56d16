"""The real things that scenes are made of: handwritten digits and photographs."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.float32]  # (H, W, 3) from 0 to 1; a mask is (H, W)
Colour = tuple[int, int, int]

TRAINING_PART = 2 / 3  # of a photograph's width; the rest is held out
BORDER = 2  # around a digit's 8×8 pixels, so that bicubic enlarging may overshoot
LEAST_CONTRAST = 0.35  # between a digit's brightness and the mean of what is behind it


@lru_cache
def photographs() -> tuple[Image.Image, ...]:
    """scikit-learn's two, 640×427: a pagoda by a lake, and a dahlia."""
    from sklearn.datasets import load_sample_images

    return tuple(Image.fromarray(image) for image in load_sample_images().images)


@lru_cache
def parts(held_out: bool) -> tuple[Image.Image, ...]:
    """Of each photograph the left two thirds for training, the rest held out."""
    return tuple(
        whole.crop((edge, 0, whole.width, whole.height) if held_out else (0, 0, edge, whole.height))
        for whole in photographs()
        for edge in [round(TRAINING_PART * whole.width)]
    )


@lru_cache
def digits(held_out: bool) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """scikit-learn's digits with a border, and what they are; a stratified fifth is held out."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    raw = datasets.load_digits()
    parts = train_test_split(
        range(len(raw.target)), test_size=0.2, stratify=raw.target, random_state=0
    )
    chosen = parts[1] if held_out else parts[0]
    padded = np.pad(raw.images[chosen] / 16 * 255, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    return [Image.fromarray(image) for image in padded.astype(np.uint8)], raw.target[chosen]


def window(
    rng: np.random.Generator, width: float, height: float, side: float
) -> tuple[float, float, float, float]:
    """The corners (x1, y1, x2, y2) of a random square of ``side`` within ``width`` × ``height``."""
    x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return x, y, x + side, y + side


def photograph(rng: np.random.Generator, size: int, held_out: bool) -> Image.Image:
    """A random square of a random photograph, at ``size`` pixels, mirrored or not."""
    whole = parts(held_out)[rng.integers(len(parts(held_out)))]
    side = rng.uniform(size, min(whole.width, whole.height, 4 * size))
    part = whole.resize(
        (size, size),
        Image.Resampling.BILINEAR,
        box=window(rng, whole.width, whole.height, side),
    )
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.integers(0, 256, 3)
    return int(red), int(green), int(blue)


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, np.float32) / np.float32(255)


def place(
    digit: Image.Image, size: int, x: float, y: float, height: float, angle: float = 0.0
) -> Pixels:
    """A mask of ``size`` × ``size``: the digit, ``height`` pixels high, its centre at (x, y).

    ``angle`` turns it clockwise, in radians.
    """
    scale = (digit.height - 2 * BORDER) / height
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    middle = digit.height / 2
    # From a pixel of the scene to one of the digit.
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    placed = digit.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return pixels(placed)


def paint(scene: Pixels, mask: Pixels, paint_colour: Pixels) -> Pixels:
    """The scene with a colour (3,) laid over it, where and as strongly as ``mask`` says."""
    return scene + mask[..., None] * (paint_colour - scene)


def visible_colour(rng: np.random.Generator, behind: Pixels) -> Pixels:
    """A random colour (3,) that stands out from the pixels (..., 3) behind it."""
    brightness = behind.mean()
    while True:
        drawn = rng.random(3, dtype=np.float32)
        if abs(drawn.mean() - brightness) >= LEAST_CONTRAST:
            return drawn


def to_tensor(scene: Pixels) -> Tensor:
    """(H, W, 3) pixels as a (3, H, W) tensor within 0 and 1."""
    return torch.from_numpy(np.ascontiguousarray(scene.transpose(2, 0, 1))).clamp_(0, 1)
