"""torch.nn's convolution layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import functional


def _conv_forward(layer: Any, conv: Any, input: Tensor, weight: Tensor, bias: Any) -> Tensor:
    padding = layer.padding
    if layer.padding_mode != "zeros":
        mode, sides = layer.padding_mode, layer._reversed_padding_repeated_twice
        input, padding = torch.nn.functional.pad(input, sides, mode=mode), 0
    output: Tensor = conv(input, weight, bias, layer.stride, padding, layer.dilation, layer.groups)
    return output


class Conv1d(torch.nn.Conv1d):
    """:class:`torch.nn.Conv1d` on cnnkern's kernels: (N, C, W) to (N, K, Q)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _conv_forward(self, functional.conv1d, input, weight, bias)


class Conv2d(torch.nn.Conv2d):
    """:class:`torch.nn.Conv2d` on cnnkern's kernels: (N, C, H, W) to (N, K, P, Q).

    >>> layer = Conv2d(3, 10, 5, padding=2)
    >>> layer
    Conv2d(3, 10, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    >>> layer(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10, 32, 32])
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _conv_forward(self, functional.conv2d, input, weight, bias)


class Conv3d(torch.nn.Conv3d):
    """:class:`torch.nn.Conv3d` on cnnkern's kernels: (N, C, D, H, W) to (N, K, Z, P, Q)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _conv_forward(self, functional.conv3d, input, weight, bias)


def _transposed_forward(
    layer: Any, conv: Any, input: Tensor, output_size: Any, dims: int
) -> Tensor:
    if layer.padding_mode != "zeros":
        raise ValueError(f"Only `zeros` padding mode is supported for ConvTranspose{dims}d")
    extra = layer._output_padding(
        input, output_size, layer.stride, layer.padding, layer.kernel_size, dims, layer.dilation
    )
    output: Tensor = conv(
        input, layer.weight, layer.bias, layer.stride, layer.padding, extra, layer.groups,
        layer.dilation,
    )  # fmt: skip
    return output


class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """:class:`torch.nn.ConvTranspose1d` on cnnkern's kernels: (N, K, Q) to (N, C, W)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transposed_forward(self, functional.conv_transpose1d, input, output_size, 1)


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """:class:`torch.nn.ConvTranspose2d` on cnnkern's kernels: (N, K, P, Q) to (N, C, H, W)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transposed_forward(self, functional.conv_transpose2d, input, output_size, 2)


class ConvTranspose3d(torch.nn.ConvTranspose3d):
    """:class:`torch.nn.ConvTranspose3d` on cnnkern's kernels: (N, K, Z, P, Q) to N, C, D, H, W."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transposed_forward(self, functional.conv_transpose3d, input, output_size, 3)
