"""A small network with every kind of layer, for tests of what PyTorch does with whole modules."""

from __future__ import annotations

import torch
from torch import nn

import cnnkern

SHAPE = (2, 3, 12, 10)


def torchs() -> nn.Sequential:
    """Of torch's layers, with the same parameters every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding="same"),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3, groups=2, bias=False),
            nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
        )


def ours() -> nn.Sequential:
    """The same on cnnkern's kernels: three convolutions and a pooling."""
    return cnnkern.convert(torchs(), inplace=True)


def batch(n: int = SHAPE[0], *spatial: int) -> torch.Tensor:
    return torch.randn(n, SHAPE[1], *(spatial or SHAPE[2:]))
