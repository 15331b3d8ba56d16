"""torch.nn's lazy convolution layers: the first batch tells the number of input channels.

After it a layer is one of ``cnnkern.nn``'s own: ``LazyConv2d`` becomes ``Conv2d``.
"""

from __future__ import annotations

import torch

from cnnkern.nn import convolution


class LazyConv1d(torch.nn.LazyConv1d, convolution.Conv1d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConv1d` on cnnkern's kernels."""

    cls_to_become = convolution.Conv1d


class LazyConv2d(torch.nn.LazyConv2d, convolution.Conv2d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConv2d` on cnnkern's kernels.

    >>> layer = LazyConv2d(10, kernel_size=5)
    >>> layer(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10, 28, 28])
    >>> layer
    Conv2d(3, 10, kernel_size=(5, 5), stride=(1, 1))
    """

    cls_to_become = convolution.Conv2d


class LazyConv3d(torch.nn.LazyConv3d, convolution.Conv3d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConv3d` on cnnkern's kernels."""

    cls_to_become = convolution.Conv3d


class LazyConvTranspose1d(torch.nn.LazyConvTranspose1d, convolution.ConvTranspose1d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConvTranspose1d` on cnnkern's kernels."""

    cls_to_become = convolution.ConvTranspose1d


class LazyConvTranspose2d(torch.nn.LazyConvTranspose2d, convolution.ConvTranspose2d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConvTranspose2d` on cnnkern's kernels."""

    cls_to_become = convolution.ConvTranspose2d


class LazyConvTranspose3d(torch.nn.LazyConvTranspose3d, convolution.ConvTranspose3d):  # type: ignore[misc]
    """:class:`torch.nn.LazyConvTranspose3d` on cnnkern's kernels."""

    cls_to_become = convolution.ConvTranspose3d
