"""Convolution layers with their activation fused in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from cnnkern import functional
from cnnkern.functional.conv_bias_act import check_activation, fused, pack_weight
from cnnkern.nn.convolution import Conv1d, Conv2d, Conv3d, _conv_forward


class ConvBlock(_ConvNd):
    """What ConvBlock1d, ConvBlock2d and ConvBlock3d share: ``activation`` and ``forward``."""

    _function: Callable[..., Tensor]

    def __init__(self, *args: Any, activation: str | None = "relu", **kwargs: Any) -> None:
        if type(self) is ConvBlock:
            raise TypeError("ConvBlock: use ConvBlock1d, ConvBlock2d or ConvBlock3d")
        check_activation(type(self).__name__, activation)
        super().__init__(*args, **kwargs)
        self.activation = activation

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        """The result's shape is the residual's."""
        packed = getattr(self, "packed_weight", None)
        if packed is None or not input.is_cpu:
            function = partial(type(self)._function, activation=self.activation, residual=residual)
            return _conv_forward(self, function, input, self.weight, self.bias)
        return fused(
            type(self).__name__, self.weight.dim() - 2, input, self.weight, self.bias, self.stride,
            self.padding, self.dilation, self.groups, self.activation, residual, packed,
        )  # fmt: skip

    def pack_weight(self, input: Tensor) -> None:
        """Keeps the weight also as the CPU's kernel for inputs of this size reads it, so that no
        call has to rearrange it. Results stay the same, and other inputs allowed. Nothing is kept
        for padding that is not zeros, and of tensors that are not on the CPU.

        ``packed_weight`` is a buffer that is not saved. Loading a state drops it; a weight that is
        changed in another way asks for another ``pack_weight``.
        """
        if hasattr(self, "packed_weight"):
            del self.packed_weight
        if self.padding_mode != "zeros" or not input.is_cpu:
            return
        packed = pack_weight(
            input, self.weight.detach(), self.stride, self.padding, self.dilation, self.groups
        )
        if packed.numel() > 0:
            self.register_buffer("packed_weight", packed, persistent=False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if hasattr(self, "packed_weight"):
            del self.packed_weight
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        shown: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{shown}, activation={self.activation}"


class ConvBlock1d(ConvBlock, Conv1d):
    """activation(conv1d(input) + residual) in one kernel; see :class:`ConvBlock2d`."""

    _function = staticmethod(functional.conv1d_bias_act)


class ConvBlock2d(ConvBlock, Conv2d):
    """activation(conv2d(input) + residual) in one kernel: a :class:`torch.nn.Conv2d` and what
    follows it.

    Constructor, parameters and ``state_dict`` are Conv2d's; the keyword ``activation`` is
    ``"relu"``, ``"relu6"``, ``"tanh"``, ``"sigmoid"``, ``"gelu"``, ``"silu"``, ``"hardswish"`` or
    None.
    ``forward(input, residual=None)``: input (N, C, H, W), residual and result (N, K, P, Q).

    >>> import torch
    >>> block = ConvBlock2d(8, 8, 3, padding=1, activation="silu")
    >>> block
    ConvBlock2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), activation=silu)
    >>> x = torch.randn(1, 8, 6, 6)
    >>> block(x, residual=x).shape
    torch.Size([1, 8, 6, 6])
    """

    _function = staticmethod(functional.conv2d_bias_act)


class ConvBlock3d(ConvBlock, Conv3d):
    """activation(conv3d(input) + residual) in one kernel; see :class:`ConvBlock2d`."""

    _function = staticmethod(functional.conv3d_bias_act)
