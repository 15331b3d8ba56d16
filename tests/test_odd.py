"""Odd inputs, as torch treats them: empty, tiny, not finite, denormal, beyond 2^31 elements."""

import cases
import numpy as np
import pytest
import torch

import cnnkern
from cnnkern import functional as ours
from cnnkern import testing

F = torch.nn.functional
BACKENDS = ["cpu", pytest.param("emulator", marks=pytest.mark.skipif(
    bool(cases.has_emulator()), reason=cases.has_emulator()))]  # fmt: skip
INF, NAN = float("inf"), float("nan")


@pytest.fixture(params=BACKENDS)
def backend(request):
    with cnnkern.backend(request.param):
        yield request.param


def results(call, *tensors):
    """The output, then the gradient of each tensor for an output gradient of small integers."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    y = call(*leaves)
    grads = torch.autograd.grad(y, leaves, testing.integer_tensor(*y.shape, dtype=y.dtype, seed=9))
    return [y.detach(), *grads]


def check(name, tensors, **options):
    """The same bits as torch, forward and backward; NaN equals NaN."""
    wanted = results(lambda *t: getattr(F, name)(*t, **options), *tensors)
    found = results(lambda *t: getattr(ours, name)(*t, **options), *tensors)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        testing.assert_equal(mine, theirs, name)


def integers(*shape):
    return testing.integer_tensor(*shape, seed=len(shape))


# Shapes that fit no tile: (function, shapes of the tensors, options)
SHAPES = {
    "no images": ("conv2d", [(0, 3, 6, 6), (4, 3, 3, 3), (4,)], {}),
    "no images, 1-d": ("conv1d", [(0, 3, 6), (4, 3, 3), (4,)], {}),
    "no images, 3-d": ("conv3d", [(0, 3, 4, 6, 6), (4, 3, 3, 3, 3)], {}),
    "no images, transposed": ("conv_transpose2d", [(0, 3, 6, 6), (3, 4, 3, 3), (4,)], {}),
    "no images, pool": ("max_pool2d", [(0, 3, 6, 6)], {"kernel_size": 2}),
    "stride beyond the kernel": (
        "conv2d",
        [(2, 3, 13, 12), (4, 3, 2, 3), (4,)],
        {"stride": (5, 7)},
    ),
    "stride beyond the input": ("conv2d", [(2, 3, 4, 4), (4, 3, 3, 3), (4,)], {"stride": 9}),
    "stride beyond the window": ("max_pool2d", [(2, 3, 13, 12)], {"kernel_size": 2, "stride": 5}),
    "1×1 image": ("conv2d", [(2, 3, 1, 1), (4, 3, 3, 3), (4,)], {"padding": 1}),
    "1×1 image, pool": ("max_pool2d", [(2, 3, 1, 1)], {"kernel_size": 3, "padding": 1}),
    "kernel is the input": ("conv2d", [(2, 3, 5, 4), (6, 3, 5, 4), (6,)], {}),
    "kernel is the input, pool": ("max_pool2d", [(2, 3, 5, 4)], {"kernel_size": (5, 4)}),
    "kernel is the input, 3-d": ("conv3d", [(2, 3, 2, 3, 4), (6, 3, 2, 3, 4), (6,)], {}),
    # In ceil_mode the last window would start in the right padding, and is left out.
    "ceil, outside": (
        "max_pool2d",
        [(1, 2, 5, 5)],
        {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    ),
    "ceil, over the edge": (
        "max_pool1d",
        [(1, 2, 6)],
        {"kernel_size": 3, "stride": 4, "padding": 1, "ceil_mode": True},
    ),
    "ceil, 3-d": (
        "max_pool3d",
        [(1, 2, 4, 5, 7)],
        {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    ),
}


@pytest.mark.parametrize("name, shapes, options", SHAPES.values(), ids=SHAPES)
def test_shapes(backend, name, shapes, options):
    check(name, [integers(*shape) for shape in shapes], **options)


def test_no_channels_leaves_the_bias(backend):
    """torch returns no filters at all here; a sum of nothing is 0, and the bias is added."""
    bias = integers(4)
    found = ours.conv2d(torch.empty(2, 0, 6, 5), torch.empty(4, 0, 3, 3), bias)
    testing.assert_equal(found, bias.view(1, 4, 1, 1).expand(2, 4, 4, 3))


@pytest.mark.parametrize(
    "name, shapes, options, phrase",
    [
        ("max_pool2d", [(2, 0, 6, 6)], {"kernel_size": 2}, "with optional 0 dim batch size for"),
        ("conv2d", [(2, 3, 6, 6), (0, 3, 3, 3)], {}, "expected weight to be at least 1 at dim"),
        ("conv2d", [(2, 3, 0, 6), (4, 3, 3, 3)], {}, "Kernel size can't be greater than actual"),
    ],
    ids=["channels", "filters", "height"],
)
def test_torch_refuses_too(backend, name, shapes, options, phrase):
    tensors = [torch.empty(shape) for shape in shapes]
    for module in (F, ours):
        with pytest.raises(RuntimeError, match=phrase):
            getattr(module, name)(*tensors, **options)


@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("place", ["input", "weight", "bias"])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_passes_on_what_is_not_finite(backend, value, place, stride):
    """Zeros in the padding are multiplied too: ∞·0 is NaN, as in torch."""
    x, w, b = integers(2, 3, 6, 7), integers(4, 3, 3, 3), integers(4)
    {"input": x[1, 2], "weight": w[3, 0], "bias": b}[place].view(-1)[3] = value
    options = {"stride": stride, "padding": 1}
    reference = F.conv2d(x.double(), w.double(), b.double(), **options)
    testing.assert_equal(ours.conv2d(x, w, b, **options), reference)


@pytest.mark.parametrize("function", ["max_pool1d", "max_pool2d", "max_pool3d"])
@pytest.mark.parametrize("values", [(NAN,), (INF,), (-INF,), (NAN, INF), (-INF, NAN, NAN)], ids=str)
def test_max_pool_passes_on_what_is_not_finite(backend, function, values):
    x = integers(2, 3, *[6] * int(function[-2]))
    for at, value in enumerate(values):
        x.view(-1)[3 + 4 * at] = value
        x[1, 2].view(-1)[at] = value
    check(function, [x], kernel_size=3, stride=2, padding=1)


@pytest.mark.parametrize("function", ["max_pool1d", "max_pool2d", "max_pool3d"])
def test_all_minus_infinity(backend, function):
    check(function, [torch.full((1, 2, *[5] * int(function[-2])), -INF)], kernel_size=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_denormals_are_not_flushed(backend, dtype):
    tiny = torch.finfo(dtype).smallest_normal / 256
    x = (integers(1, 2, 5, 5).double() * tiny).to(dtype)
    w = integers(3, 2, 3, 3).to(dtype)
    exact = F.conv2d(x.double(), w.double())
    assert (
        x.count_nonzero() and (exact.abs()[exact != 0] < torch.finfo(dtype).smallest_normal).any()
    )
    testing.assert_equal(ours.conv2d(x, w), exact)
    check("max_pool2d", [x], kernel_size=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["float32", "float16"])
def test_more_than_2_31_elements(dtype):
    """Three windows, 2^30 apart; of numpy's zeros only the pages that are written take memory."""
    far = 2**30
    x = torch.from_numpy(np.zeros((1, 1, 2 * far + 5), dtype))
    x[0, 0, far], x[0, 0, -2], x[0, 0, -1] = 3, 4, 5
    y, at = ours.max_pool1d(x, 5, far, return_indices=True)
    assert y.flatten().tolist() == [0, 3, 5] and at.flatten().tolist() == [0, far, 2 * far + 4]
    w = torch.arange(1, 6, dtype=x.dtype).view(1, 1, 5).requires_grad_()
    y = ours.conv1d(x, w, stride=far)
    assert y.flatten().tolist() == [0, 3, 4 * 4 + 5 * 5]
    (grad,) = torch.autograd.grad(y, w, torch.tensor([[[1, 2, 3]]], dtype=x.dtype))
    assert grad.flatten().tolist() == [2 * 3, 0, 0, 3 * 4, 3 * 5]
