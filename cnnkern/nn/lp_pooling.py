"""torch.nn's Lp-pooling layers."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnkern import functional


class LPPool1d(torch.nn.LPPool1d):
    """:class:`torch.nn.LPPool1d` on cnnkern's kernels: (N, C, W) to (N, C, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.lp_pool1d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class LPPool2d(torch.nn.LPPool2d):
    """:class:`torch.nn.LPPool2d` on cnnkern's kernels: (N, C, H, W) to (N, C, P, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )


class LPPool3d(torch.nn.LPPool3d):
    """:class:`torch.nn.LPPool3d` on cnnkern's kernels: (N, C, D, H, W) to (N, C, Z, P, Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.lp_pool3d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
