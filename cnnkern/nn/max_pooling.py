"""torch.nn's max-pooling layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import functional


def _pool_forward(layer: Any, pool: Any, input: Tensor) -> Any:
    return pool(
        input, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode,
        layer.return_indices,
    )  # fmt: skip


class MaxPool1d(torch.nn.MaxPool1d):
    """:class:`torch.nn.MaxPool1d` on cnnkern's kernels: (N, C, W) to (N, C, Q)."""

    def forward(self, input: Tensor) -> Any:
        return _pool_forward(self, functional.max_pool1d, input)


class MaxPool2d(torch.nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Any:
        return _pool_forward(self, functional.max_pool2d, input)


class MaxPool3d(torch.nn.MaxPool3d):
    """:class:`torch.nn.MaxPool3d` on cnnkern's kernels: (N, C, D, H, W) to (N, C, Z, P, Q)."""

    def forward(self, input: Tensor) -> Any:
        return _pool_forward(self, functional.max_pool3d, input)
