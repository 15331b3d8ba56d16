"""Errors: PyTorch's exception type, PyTorch's phrase where it has one, on real and meta tensors."""

from dataclasses import dataclass, field

import pytest
import torch

import cnnkern
from cnnkern import functional as ours

F = torch.nn.functional


@dataclass
class Bad:
    """A wrong call; tensors are given by shape, or (shape, dtype), or (shape, dtype, device)."""

    function: str
    args: list
    phrase: str
    kwargs: dict = field(default_factory=dict)
    like_torch: bool = True  # whether torch raises for the same call, and with the same phrase
    phrase_is_torchs: bool = True

    def __str__(self) -> str:
        return f"{self.function} {self.phrase[:40]}"


X, W = (1, 4, 6, 6), (4, 4, 3, 3)
HALF, DOUBLE = torch.float16, torch.float64
POOL = "max_pool2d"
TABLE = [
    Bad("conv2d", [X, (4, 3, 3, 3)], "to have 3 channels, but got 4 channels"),
    Bad("conv2d", [X, (4, 4, 3, 3)], "to have 8 channels, but got 4 channels", {"groups": 2}),
    Bad("conv2d", [(1, 6, 6, 6), (4, 2, 3, 3)], "divisible by 3 at dimension 0", {"groups": 3}),
    Bad("conv2d", [(1, 6, 6, 6), (2, 2, 3, 3)], "expected weight to be at least 3 at dimension 0",
        {"groups": 3}),
    Bad("conv2d", [X, W], "non-positive groups is not supported", {"groups": 0}),
    Bad("conv2d", [X, W], "non-positive groups is not supported", {"groups": -1}),
    Bad("conv2d", [X, W], "negative padding is not supported", {"padding": -1}),
    Bad("conv2d", [X, W], "non-positive stride is not supported", {"stride": 0}),
    Bad("conv2d", [X, W], "non-positive stride is not supported", {"stride": (1, -2)}),
    Bad("conv2d", [X, W], "dilation should be greater than zero", {"dilation": 0}),
    Bad("conv2d", [X, (4, 4, 7, 3)], "Kernel size can't be greater than actual input size"),
    Bad("conv2d", [X, W, 3], "expected bias to be 1-dimensional with 4 elements"),
    Bad("conv2d", [X, W, (4, 1)], "expected bias to be 1-dimensional with 4 elements"),
    Bad("conv2d", [X, (W, DOUBLE)], "should be the same", phrase_is_torchs=False),
    Bad("conv2d", [X, W, (4, HALF)], "should be the same"),
    Bad("conv2d", [(X, torch.bool), (W, torch.bool)], "not implemented for 'Bool'"),
    Bad("conv2d", [(X, torch.uint16), (W, torch.uint16)], "not implemented for 'UInt16'"),
    Bad("conv2d", [(1, 1, 4, 6, 6), W], "Expected 3D (unbatched) or 4D (batched) input to conv2d"),
    Bad("conv2d", [(6, 6), W], "Expected 3D (unbatched) or 4D (batched) input to conv2d"),
    Bad("conv1d", [(6,), (4, 4, 3)], "Expected 2D (unbatched) or 3D (batched) input to conv1d"),
    Bad("conv3d", [(4, 6, 6), (4, 4, 3, 3, 3)], "Expected 4D (unbatched) or 5D (batched) input"),
    Bad("conv2d", [X, (4, 4, 3)], "weight", phrase_is_torchs=False),
    Bad("conv2d", [X, W], "expected stride to be a single integer value or a list of 2 values",
        {"stride": (1, 1, 1)}),
    Bad("conv2d", [X, W], "expected dilation to be a single integer value or a list of 2 values",
        {"dilation": (1, 1, 1)}),
    Bad("conv2d", [X, W], "expected padding to be a single integer value or a list of 2 values",
        {"padding": (1, 1, 1)}),
    Bad("conv2d", [X, W], "argument 'stride'", {"stride": 1.5}, phrase_is_torchs=False),
    Bad("conv2d", [X, W], "argument 'padding'", {"padding": (1.0, 1)}, phrase_is_torchs=False),
    Bad("conv2d", [X, W], "argument 'groups'", {"groups": "2"}, phrase_is_torchs=False),
    Bad("conv2d", [None, W], "argument 'input' (position 1) must be Tensor",
        phrase_is_torchs=False),
    Bad("conv2d", [X, None], "argument 'weight' (position 2) must be Tensor",
        phrase_is_torchs=False),
    Bad("conv2d", [X, W], "Invalid padding string", {"padding": "full"}),
    Bad("conv2d", [X, W], "padding='same' is not supported for strided convolutions",
        {"padding": "same", "stride": 2}),
    Bad("conv2d", [X, W], "integer overflow", {"padding": 2**61}, like_torch=False),
    Bad("conv2d", [X, W], "integer overflow", {"padding": 2**39, "stride": 1}, like_torch=False),
    Bad("conv2d", [X, W], "padding per side", {"padding": ((1, 1), (1,))}, like_torch=False),
    Bad("conv2d", [X, W], "integer overflow: padding is", {"padding": 2**70}, like_torch=False),
    Bad("conv_transpose2d", [X, (3, 4, 3, 3)], "to have 3 channels, but got 4 channels"),
    Bad("conv_transpose2d", [X, W], "output padding must be smaller than either stride or dilation",
        {"output_padding": 1}),
    Bad("conv_transpose2d", [X, W], "negative padding is not supported", {"padding": -1}),
    Bad("conv_transpose2d", [X, W], "non-positive stride is not supported", {"stride": 0}),
    Bad("conv_transpose2d", [X, W], "negative output_padding is not supported",
        {"output_padding": -1}, phrase_is_torchs=False),
    Bad("conv_transpose2d", [X, W], "too small", {"padding": 5}),
    Bad("conv_transpose2d", [X, W, 3], "expected bias to be 1-dimensional with 4 elements"),
    Bad(POOL, [X, 3], "pad should be at most half of effective kernel size", {"padding": 2}),
    Bad(POOL, [X, 3], "pad must be non-negative", {"padding": -1}),
    Bad(POOL, [X, 3], "stride should not be zero", {"stride": 0}),
    Bad(POOL, [X, 0], "kernel size should be greater than zero", {"stride": 1}),
    Bad(POOL, [X, 3], "dilation should be greater than zero", {"dilation": 0}),
    Bad(POOL, [X, 7], "Output size is too small"),
    Bad(POOL, [(6, 6), 2], "input", phrase_is_torchs=False),
    Bad(POOL, [(1, 0, 6, 6), 2], "with optional 0 dim batch size for input"),
    Bad(POOL, [(1, 4, 0, 6), 2], "with optional 0 dim batch size for input"),
    Bad(POOL, [None, 2], "argument 'input' (position 1) must be Tensor", phrase_is_torchs=False),
    Bad(POOL, [X, (2, 2, 2)], "kernel_size", phrase_is_torchs=False),
    Bad(POOL, [X, 2.5], "kernel_size", phrase_is_torchs=False),
    Bad(POOL, [(X, torch.bool), 2], "not implemented for 'Bool'"),
]  # fmt: skip


def build(bad: Bad, device: str) -> list:
    """The tensors of the call: entries 0 to 2, where they are shapes."""
    args = []
    for position, given in enumerate(bad.args):
        shape, dtype = given if isinstance(given, tuple) and len(given) == 2 and isinstance(
            given[1], torch.dtype
        ) else (given, torch.float32)  # fmt: skip
        if shape is None or (bad.function.startswith("max_pool") and position == 1):
            args.append(shape)
        else:
            args.append(torch.zeros(shape, dtype=dtype, device=device))
    return args


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("bad", TABLE, ids=str)
def test_message(bad, device):
    with pytest.raises((RuntimeError, ValueError, TypeError)) as found:
        getattr(ours, bad.function)(*build(bad, device), **bad.kwargs)
    message = str(found.value)
    assert bad.phrase in message
    assert "Exception raised from" not in message and ".cpp" not in message, "not a sentence"
    assert bad.function in message or "conv:" in message or "max_pool:" in message or (
        "cnnkern:" in message
    ), message  # fmt: skip


@pytest.mark.parametrize("bad", [bad for bad in TABLE if bad.like_torch], ids=str)
def test_like_torch(bad):
    """The same type as torch's for the same call, and its phrase."""
    with pytest.raises(Exception) as theirs:
        getattr(F, bad.function)(*build(bad, "cpu"), **bad.kwargs)
    with pytest.raises(Exception) as found:
        getattr(ours, bad.function)(*build(bad, "cpu"), **bad.kwargs)
    assert type(found.value) is type(theirs.value), f"{found.value!r}\n{theirs.value!r}"
    if bad.phrase_is_torchs:
        assert bad.phrase in str(theirs.value)


def test_mixed_devices():
    x, w = torch.zeros(X), torch.zeros(W, device="meta")
    for call in (ours.conv2d, ours.conv_transpose2d):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            call(x, w)
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            call(torch.zeros(X, device="meta"), torch.zeros(W))


def test_an_overflowing_output_size_is_not_computed():
    with pytest.raises(RuntimeError, match="overflow"):
        ours.conv_transpose2d(torch.zeros(X), torch.zeros(W), stride=2**61)


def test_backends():
    with pytest.raises(ValueError, match="name is 'gpu'"), cnnkern.backend("gpu"):
        pass
    if not cnnkern.info().cuda:
        with pytest.raises(RuntimeError, match="without CUDA kernels"), cnnkern.backend("cuda"):
            pass
    with cnnkern.backend("cpu"):
        assert ours.conv2d(torch.zeros(X), torch.zeros(W)).shape == (1, 4, 4, 4)
