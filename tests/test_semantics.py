"""Semantics: derivatives of every kind, memory formats, odd inputs."""

import numpy as np
import pytest
import torch
from torch import Tensor

import cnnkern
from cnnkern import functional as ours
from cnnkern import testing
from cnnkern.functional._arguments import FLOATS

F = torch.nn.functional

# --------------------------------------------------------------------------------------------------
# Derivatives

SMALL = {
    "conv1d": ((2, 4, 7), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    "conv2d": ((2, 2, 5, 4), (3, 2, 2, 3), {"stride": (2, 1), "padding": 1, "dilation": (1, 2)}),
    "conv3d": ((1, 2, 3, 4, 3), (2, 1, 2, 2, 2), {"padding": (1, 0, 1), "groups": 2}),
    "conv_transpose1d": ((2, 2, 4), (2, 3, 3), {"stride": 2, "output_padding": 1}),
    "conv_transpose2d": ((1, 4, 3, 3), (4, 1, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    "conv_transpose3d": ((1, 2, 2, 3, 2), (2, 2, 2, 2, 1), {"dilation": (1, 2, 1)}),
}


def small(name: str, requires_grad: bool = True):
    """(function of input, weight, bias), and the three tensors in float64."""
    x, w, kwargs = SMALL[name]
    out = w[1] * kwargs.get("groups", 1) if "transpose" in name else w[0]
    generator = torch.Generator().manual_seed(1)
    tensors = [
        torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=requires_grad)
        for shape in (x, w, (out,))
    ]
    return lambda *args: getattr(ours, name)(*args, **kwargs), tensors


@pytest.mark.parametrize("name", SMALL)
def test_gradcheck(name):
    call, tensors = small(name)
    assert torch.autograd.gradcheck(call, tensors, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, tensors, fast_mode=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradcheck_max_pool(dims):
    shape = (1, 2, 5, 4, 3)[: dims + 2]
    count = torch.Size(shape).numel()  # distinct values, so no maximum is tied
    x = torch.randperm(count).double().reshape(shape).requires_grad_()

    def call(x):
        return getattr(ours, f"max_pool{dims}d")(x, 3, 2, 1, ceil_mode=True)

    assert torch.autograd.gradcheck(call, x, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, x, fast_mode=True)


@pytest.mark.parametrize("name", SMALL)
def test_torch_func(name):
    """grad, jvp, vmap over each argument, jacrev and hessian equal those of PyTorch's function."""
    _, (x, w, b) = small(name, requires_grad=False)
    kwargs = SMALL[name][2]
    compared = []
    for functions in (ours, F):

        def call(x, w, b, functions=functions):
            return getattr(functions, name)(x, w, b, **kwargs)

        def loss(x, w, b, call=call):
            return (call(x, w, b) ** 2).sum()

        func = torch.func
        stacked = [torch.stack([t, 2 * t, t - 1]) for t in (x, w, b)]
        results = [*func.grad(loss, argnums=(0, 1, 2))(x, w, b)]
        results.append(func.jvp(call, (x, w, b), (x + 1, w - 1, b + 2))[1])
        for mapped in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)):
            args = [s if m == 0 else t for s, t, m in zip(stacked, (x, w, b), mapped)]
            results.append(func.vmap(call, in_dims=mapped)(*args))
            results += func.vmap(func.grad(loss, argnums=(0, 1, 2)), in_dims=mapped)(*args)
        results.append(func.jacrev(call, argnums=1)(x, w, b))
        results.append(func.jacfwd(call, argnums=0)(x, w, b))
        results.append(func.hessian(loss, argnums=2)(x, w, b))
        compared.append(results)
    for found, theirs in zip(*compared, strict=True):
        torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-10)


def test_torch_func_max_pool():
    x = torch.randperm(2 * 3 * 6 * 6).double().reshape(2, 3, 6, 6)
    compared = []
    for functions in (ours, F):

        def call(x, pool=functions.max_pool2d):
            return pool(x, 3, 2, 1)

        def loss(x, call=call):
            return (call(x) ** 3).sum()

        compared.append(
            [
                torch.func.grad(loss)(x),
                torch.func.jvp(call, (x,), (x + 1,))[1],
                torch.func.vmap(call)(torch.stack([x, -x])),
                torch.func.vmap(torch.func.grad(loss))(torch.stack([x, -x])),
                torch.func.jacrev(call)(x[:1, :1]),
                torch.func.hessian(loss)(x[:1, :1]),
            ]
        )
    for found, theirs in zip(*compared, strict=True):
        testing.assert_equal(found, theirs)


# --------------------------------------------------------------------------------------------------
# Memory formats, layouts, autocast, odd inputs


@pytest.mark.parametrize("weight_last", [False, True])
@pytest.mark.parametrize("input_last", [False, True])
@pytest.mark.parametrize("c", [1, 4])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "conv3d"])
def test_strides_are_torchs(name, c, input_last, weight_last):
    """Output and gradients, in every mix of memory formats."""
    dims = int(name[-2])
    last = torch.channels_last if dims == 2 else torch.channels_last_3d
    found = []
    for functions in (ours, F):
        x = testing.integer_tensor(2, c, *[6] * dims)
        w = testing.integer_tensor(c, c, *[3] * dims)
        x = x.contiguous(memory_format=last) if input_last else x
        w = w.contiguous(memory_format=last) if weight_last else w
        x.requires_grad_(), w.requires_grad_()
        y = getattr(functions, name)(x, w, padding=1)
        y.backward(torch.ones_like(y))
        found.append((y, x.grad, w.grad))
    for mine, theirs in zip(*found):
        testing.assert_equal(mine, theirs)
    assert found[0][0].stride() == found[1][0].stride()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_autocast(name, dtype):
    _, double = small(name, requires_grad=False)
    tensors = [t.float().requires_grad_() for t in double]
    with torch.autocast("cpu", dtype=dtype):
        y = getattr(ours, name)(*tensors, **SMALL[name][2])
        wide = getattr(ours, name)(*double, **SMALL[name][2])
    assert y.dtype == dtype and wide.dtype == torch.float64
    y.float().sum().backward()
    assert all(t.grad.dtype == torch.float32 for t in tensors)
    low = [t.to(dtype) for t in double]
    testing.assert_equal(y, getattr(ours, name)(*low, **SMALL[name][2]))


def compare(name: str, *args, **kwargs) -> Tensor:
    """Our result, after comparing it bit for bit with torch's."""
    found, theirs = getattr(ours, name)(*args, **kwargs), getattr(F, name)(*args, **kwargs)
    testing.assert_equal(found, theirs, name)
    assert found.stride() == theirs.stride()
    return found


def test_odd_inputs():
    integers = testing.integer_tensor
    w = integers(5, 3, 3, 3)
    assert compare("conv2d", integers(3, 6, 6), w).shape == (5, 4, 4)  # unbatched
    assert compare("conv2d", integers(0, 3, 6, 6), w).shape == (0, 5, 4, 4)  # empty batch
    compare("conv2d", integers(2, 3, 1, 2), w, padding=2)  # a filter larger than the input
    compare("conv2d", integers(2, 1, 6, 6), integers(4, 1, 3, 3))  # one channel
    compare("conv2d", integers(2, 3, 6, 6), w, stride=(7, 9))
    compare("conv2d", integers(2, 3, 7, 6), integers(5, 3, 2, 4), padding="same")  # even filter
    compare("conv_transpose2d", integers(5, 4, 4), w, stride=3, output_padding=2)
    compare("max_pool2d", integers(0, 3, 6, 6), 2)
    compare("max_pool2d", integers(3, 6, 6), 2)


def test_empty_batch_has_zero_gradients():
    x = torch.zeros(0, 3, 6, 6, requires_grad=True)
    w, b = torch.ones(5, 3, 3, 3, requires_grad=True), torch.ones(5, requires_grad=True)
    ours.conv2d(x, w, b).sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.any() and w.grad.shape == w.shape and not b.grad.any()


def test_padding_of_each_side():
    x, w = testing.integer_tensor(2, 3, 5, 6), testing.integer_tensor(4, 3, 3, 2)
    found = ours.conv2d(x, w, padding=((1, 2), (0, 3)), stride=2)
    testing.assert_equal(found, F.conv2d(F.pad(x, (0, 3, 1, 2)), w, stride=2))
    layer = cnnkern.Conv2d(3, 4, (3, 2), padding=((1, 2), (0, 3)), stride=2, bias=False)
    layer.weight.data = w
    testing.assert_equal(layer(x), found)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_padding_modes(dims, mode):
    name = f"Conv{dims}d"
    layer = getattr(cnnkern, name)(2, 3, 3, padding=2, padding_mode=mode)
    theirs = getattr(torch.nn, name)(2, 3, 3, padding=2, padding_mode=mode)
    for mine, parameter in zip(layer.parameters(), theirs.parameters(), strict=True):
        parameter.data = testing.integer_tensor(*parameter.shape)
        mine.data = parameter.data
    x = testing.integer_tensor(2, 2, *[5] * dims)
    testing.assert_equal(layer(x), theirs(x))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_max_pool_of_nan_and_infinity(dtype, last):
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[nan, 1, -inf, -inf], [2, 3, -inf, -inf], [nan, 0, inf, 5], [1, nan, 5, inf]])
    x = x.expand(1, 3, 4, 4).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if last else x.contiguous()
    for kwargs in ({}, {"stride": 1}, {"padding": 1}, {"stride": 3, "ceil_mode": True}):
        found = ours.max_pool2d(x, 2, return_indices=True, **kwargs)
        theirs = F.max_pool2d(x, 2, return_indices=True, **kwargs)
        testing.assert_equal(found[0], theirs[0], str(kwargs))
        testing.assert_equal(found[1], theirs[1], str(kwargs))


@pytest.mark.parametrize("size", range(3, 12))
def test_ceil_mode(size):
    x = testing.integer_tensor(2, 3, size, size + 1)
    for kernel, stride, padding, dilation in (
        (2, 3, 1, 1),
        (3, 2, 1, 1),
        (2, 2, 0, 2),
        (3, 3, 1, 1),
    ):
        args = (kernel, stride, padding, dilation, True)
        for found, theirs in zip(
            ours.max_pool2d(x, *args, return_indices=True),
            F.max_pool2d(x, *args, return_indices=True),
        ):
            testing.assert_equal(found, theirs, str((size, args)))


# --------------------------------------------------------------------------------------------------
# Layers


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "MaxPool"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layers_are_torchs(kind, dims):
    """Constructor, repr, parameters, initial values, isinstance, and each other's state_dict."""
    name = f"{kind}{dims}d"
    args = (3, 2, 1) if kind == "MaxPool" else (4, 6, 3)
    kwargs = {"ceil_mode": True} if kind == "MaxPool" else {"stride": 2, "padding": 1, "groups": 2}
    torch.manual_seed(3)
    layer = getattr(cnnkern, name)(*args, **kwargs)
    torch.manual_seed(3)
    theirs = getattr(torch.nn, name)(*args, **kwargs)
    assert repr(layer) == repr(theirs)
    assert isinstance(layer, type(theirs))
    assert layer.state_dict().keys() == theirs.state_dict().keys()
    for mine, parameter in zip(layer.parameters(), theirs.parameters(), strict=True):
        testing.assert_equal(mine, parameter)
    layer.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, *[9] * dims)
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-4, atol=1e-5)
    if kind == "ConvTranspose":
        size = [18] * dims
        torch.testing.assert_close(layer(x, size), theirs(x, size), rtol=1e-4, atol=1e-5)


def test_numpy_integers_are_sizes():
    two, x, w = np.int64(2), torch.randn(1, 4, 9, 9), torch.randn(4, 2, 2, 2)
    found = cnnkern.functional.conv2d(x, w, stride=two, padding=(two, np.int32(1)), groups=two)
    wanted = F.conv2d(x, w, stride=two, padding=(two, np.int32(1)), groups=two)
    torch.testing.assert_close(found, wanted)
    testing.assert_equal(cnnkern.functional.max_pool2d(x, two), F.max_pool2d(x, two))
    found = cnnkern.functional.avg_pool2d(x, [two], two)
    torch.testing.assert_close(found, F.avg_pool2d(x, [two], two))
