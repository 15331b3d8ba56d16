"""torch.nn's average-pooling layers."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnkern import functional


class AvgPool1d(torch.nn.AvgPool1d):
    """:class:`torch.nn.AvgPool1d` on cnnkern's kernels: (N, C, W) to (N, C, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip


class AvgPool2d(torch.nn.AvgPool2d):
    """:class:`torch.nn.AvgPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AvgPool3d(torch.nn.AvgPool3d):
    """:class:`torch.nn.AvgPool3d` on cnnkern's kernels: (N, C, D, H, W) to (N, C, Z, P, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool3d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AdaptiveAvgPool1d(torch.nn.AdaptiveAvgPool1d):
    """:class:`torch.nn.AdaptiveAvgPool1d` on cnnkern's kernels: (N, C, W) to (N, C, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """:class:`torch.nn.AdaptiveAvgPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(torch.nn.AdaptiveAvgPool3d):
    """:class:`torch.nn.AdaptiveAvgPool3d` on cnnkern's kernels: N, C, D, H, W to N, C, Z, P, Q."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.adaptive_avg_pool3d(input, self.output_size)
