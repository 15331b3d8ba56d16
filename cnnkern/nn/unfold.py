"""torch.nn's Unfold and Fold."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnkern import functional


class Unfold(torch.nn.Unfold):
    """:class:`torch.nn.Unfold` on cnnkern's kernels: (N, C, H, W) to (N, C·R·S, P·Q)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(torch.nn.Fold):
    """:class:`torch.nn.Fold` on cnnkern's kernels: (N, C·R·S, P·Q) to (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )
