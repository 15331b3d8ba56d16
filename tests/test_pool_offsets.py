"""Max pooling keeps one byte a window for its derivatives, where nobody asked for indices."""

import cases
import pytest
import torch

import cnnkern
from cnnkern import _ops, testing
from cnnkern import functional as ours
from cnnkern.functional._arguments import FLOATS

DEVICES = [
    "cpu",
    pytest.param(
        "sm_80", marks=pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
    ),
]
# kernel, stride, padding, dilation, ceil_mode: overlapping, gaps, dilated, windows without a pixel
WINDOWS = [
    ([3, 3], [2, 2], [1, 1], [1, 1], False),
    ([2, 3], [3, 1], [0, 1], [1, 1], True),
    ([3, 2], [2, 1], [2, 1], [2, 3], True),
    ([2, 2], [1, 1], [5, 0], [10, 1], False),
]


def saved_by(function) -> list[torch.Tensor]:
    """What autograd keeps of a call."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        function()
    return saved


@pytest.mark.parametrize("backend", ["cpu", "emulator"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_one_byte_a_window_is_saved(dims, backend):
    if backend == "emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    x = torch.randn(2, 3, *[9] * dims, requires_grad=True)
    pool = getattr(ours, f"max_pool{dims}d")
    with cnnkern.backend(backend):
        (offsets,) = saved_by(lambda: pool(x, 3, 2))
        (indices,) = saved_by(lambda: pool(x, 3, 2, return_indices=True))
    assert (offsets.dtype, offsets.nbytes) == (torch.uint8, 2 * 3 * 4**dims)
    assert (indices.dtype, indices.nbytes) == (torch.int64, 8 * offsets.nbytes)


def test_windows_of_256_taps_save_indices():
    x = torch.randn(1, 2, 17, 17, requires_grad=True)
    (offsets,) = saved_by(lambda: ours.max_pool2d(x, (15, 17)))
    (indices,) = saved_by(lambda: ours.max_pool2d(x, 16))
    assert (offsets.dtype, indices.dtype) == (torch.uint8, torch.int64)
    for kernel in ((15, 17), 16):
        (found,) = torch.autograd.grad(ours.max_pool2d(x, kernel).sum(), x)
        (theirs,) = torch.autograd.grad(torch.max_pool2d(x, kernel).sum(), x)
        testing.assert_equal(found, theirs)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_are_those_of_indices(device, window, dtype, layout):
    """Bit for bit, of reals with ties, NaN and infinities; and so are the maxima."""
    ops = cases.Case("", device, "").operators()
    torch.manual_seed(4)
    x = torch.randn(2, 16, 8, 11).mul(2).round().div(3).to(dtype)
    x[0, 3, 2:5, 4], x[1, 5], x[1, 2, :, 3] = float("nan"), -float("inf"), float("inf")
    last = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    x = x.contiguous(memory_format=last)
    y, at = _ops.max_pool_forward(ops, x, *window)
    maxima, offsets = _ops.max_pool_offsets(ops, x, *window)
    testing.assert_equal(maxima, y)
    assert offsets.dtype == torch.uint8 and offsets.stride() == y.stride()
    testing.assert_equal(offsets == 255, at == -1)
    assert (at == -1).any() == (window == WINDOWS[3])
    dy = torch.randn(y.shape).to(dtype).contiguous(memory_format=last)
    found, wanted = (_ops.max_pool_backward(ops, dy, i, (8, 11), *window) for i in (offsets, at))
    assert found.stride() == wanted.stride()
    testing.assert_equal(found, wanted)
    testing.assert_equal(*(_ops.max_pool_gather(ops, x, i, *window) for i in (offsets, at)))


@pytest.mark.parametrize("device", DEVICES)
def test_offsets_alone_may_lie_anywhere(device):
    """The vectors of channels need aligned offsets; others go to the kernel that takes elements."""
    ops = cases.Case("", device, "").operators()
    x = testing.integer_tensor(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    y, offsets = _ops.max_pool_offsets(ops, x, *WINDOWS[0])
    moved = testing.guarded_copy(offsets, 1, 1)
    found, wanted = (
        _ops.max_pool_backward(ops, y, i, (8, 8), *WINDOWS[0]) for i in (moved, offsets)
    )
    testing.assert_equal(found, wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_refusals(device):
    ops = cases.Case("", device, "").operators()
    x, window = torch.zeros(1, 2, 16, 16), WINDOWS[0]
    large = ([16, 16], [16, 16], [0, 0], [1, 1], False)
    for tensor in (x, x.to("meta")) if device == "cpu" else (x,):
        with pytest.raises(RuntimeError, match="numbers at most 255 taps, the window has more"):
            _ops.max_pool_offsets(ops, tensor, *large)
    y, offsets = _ops.max_pool_offsets(ops, x, *window)
    with pytest.raises(RuntimeError, match="offsets of dtype uint8, but got Int"):
        _ops.max_pool_backward(ops, y, offsets.int(), (16, 16), *window)
    with pytest.raises(RuntimeError, match="do not belong to this pooling"):
        _ops.max_pool_gather(ops, x[..., 2:], offsets, *window)


def test_exported_programs_keep_indices():
    """ONNX and other runtimes know those."""
    model, x = cnnkern.MaxPool2d(3, 2), torch.randn(1, 2, 9, 9, requires_grad=True)
    program = torch.export.export(model, (x,))
    assert "cnnkern.max_pool_forward.default" in {str(node.target) for node in program.graph.nodes}
    with torch.enable_grad():
        assert torch.jit.trace(model, (x,))(x).shape == (1, 2, 4, 4)


@pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
@pytest.mark.parametrize("direction", ["maxpool", "maxpool_backward"])
def test_bytes_that_are_moved(direction):
    """Counted in the emulator: bytes a float16 output that go and come."""
    line = f"n4c64h32w32r2s2u2 {direction} f16 nhwc"
    outputs = 4 * 64 * 16 * 16

    def moved(line):
        profile = cnnkern.explain(line, device="sm_80", profile=True).profile
        return sum(
            launch.traffic(store) for launch in profile.launches for store in (False, True)
        ) / outputs, (profile.least_read + profile.least_stored) / outputs

    # Four pixels of input, one of output, and eight bytes or one.
    assert moved(line)[1] == 4 * 2 + 2 + 8
    assert moved(f"{line} offsets")[1] == 4 * 2 + 2 + 1
    assert moved(f"{line} offsets")[0] < 0.7 * moved(line)[0]
