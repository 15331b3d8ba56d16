"""torch.nn's adaptive and fractional max-pooling layers, and its unpooling layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnkern import functional


def _fractional(layer: Any, pool: Any, input: Tensor) -> Any:
    return pool(
        input, layer.kernel_size, layer.output_size, layer.output_ratio, layer.return_indices,
        layer._random_samples,
    )  # fmt: skip


class AdaptiveMaxPool1d(torch.nn.AdaptiveMaxPool1d):
    """:class:`torch.nn.AdaptiveMaxPool1d` on cnnkern's kernels: (N, C, W) to (N, C, Q)."""

    def forward(self, input: Tensor) -> Any:
        return functional.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(torch.nn.AdaptiveMaxPool2d):
    """:class:`torch.nn.AdaptiveMaxPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Any:
        return functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(torch.nn.AdaptiveMaxPool3d):
    """:class:`torch.nn.AdaptiveMaxPool3d` on cnnkern's kernels: N, C, D, H, W to N, C, Z, P, Q."""

    def forward(self, input: Tensor) -> Any:
        return functional.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class FractionalMaxPool2d(torch.nn.FractionalMaxPool2d):
    """:class:`torch.nn.FractionalMaxPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Any:
        return _fractional(self, functional.fractional_max_pool2d, input)


class FractionalMaxPool3d(torch.nn.FractionalMaxPool3d):
    """:class:`torch.nn.FractionalMaxPool3d` on cnnkern's kernels: N,C,D,H,W to N,C,Z,P,Q."""

    def forward(self, input: Tensor) -> Any:
        return _fractional(self, functional.fractional_max_pool3d, input)


class MaxUnpool1d(torch.nn.MaxUnpool1d):
    """:class:`torch.nn.MaxUnpool1d` on cnnkern's kernels: (N, C, Q) to (N, C, W)."""

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return functional.max_unpool1d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool2d(torch.nn.MaxUnpool2d):
    """:class:`torch.nn.MaxUnpool2d` on cnnkern's kernels: (N, C, P, Q) to (N, C, H, W)."""

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return functional.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool3d(torch.nn.MaxUnpool3d):
    """:class:`torch.nn.MaxUnpool3d` on cnnkern's kernels: N, C, Z, P, Q to N, C, D, H, W."""

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return functional.max_unpool3d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
