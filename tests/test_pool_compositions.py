"""Pooling composed of our kernels, by definition in float64: Lp, weighted, global, pyramid."""

import itertools

import cases
import numpy as np
import pytest
import torch

import cnnkern
from cnnkern import functional as ours

F = torch.nn.functional
DIMS = (1, 2, 3)


def windows(x, kernel, stride, dilation=1):
    """(N, C, *output, taps): every window of an unpadded (N, C, *spatial) array."""
    dims, footprint = x.ndim - 2, (kernel - 1) * dilation + 1
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, [footprint] * dims, axis=axes)
    view = view[(slice(None), slice(None), *[slice(0, None, stride)] * dims)]
    view = view[(..., *[slice(0, None, dilation)] * dims)]
    return view.reshape(*view.shape[: x.ndim], -1)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("norm_type", [1, 2, 3.5, -2, float("inf"), -float("inf")])
def test_lp_pool(dims, norm_type):
    x = cases.reals((2, 3, *[9] * dims), "x").abs() + 0.1
    for stride, dilation in ((1, 1), (2, 1), (2, 2)):
        seen = windows(x.numpy(), 3, stride, dilation)
        truth = np.linalg.norm(seen, norm_type, axis=-1)
        name = f"lp_pool{dims}d"
        found = getattr(ours, name)(x, norm_type, 3, stride, dilation=dilation)
        np.testing.assert_allclose(found, truth, rtol=1e-12)
    for kwargs in ({}, {"stride": 2, "ceil_mode": True}):  # torch's sign, scale and gradient
        results = []
        for functions in (F, ours):
            a = (2 * x - 2).round().requires_grad_()  # integers, so sums agree about 0
            y = getattr(functions, name)(a, norm_type, 2, **kwargs)
            results.append((y, *torch.autograd.grad(y.sum(), a)))
        torch.testing.assert_close(*results, equal_nan=True, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dims", DIMS)
def test_weighted_avg_pool(dims, per_channel):
    x = cases.reals((2, 3, *[8] * dims), "x")
    weight = cases.reals(((3,) if per_channel else ()) + (3,) * dims, "w").abs() + 0.1
    name = f"weighted_avg_pool{dims}d"
    flat = weight.numpy().reshape(3 if per_channel else 1, *[1] * dims, -1)
    for stride, dilation in ((1, 1), (2, 1), (1, 2)):
        seen = windows(x.numpy(), 3, stride, dilation)
        truth = (seen * flat).sum(-1) / flat.sum(-1)
        found = getattr(ours, name)(x, weight, stride, dilation=dilation)
        np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-12)
    # Equal weights: average pooling that counts padding, though not what ceil_mode adds to it.
    for kwargs in ({}, {"padding": 1}, {"stride": 2, "padding": 1, "dilation": 2}):
        even = getattr(ours, name)(x, torch.full_like(weight, 0.3), **kwargs)
        torch.testing.assert_close(even, getattr(ours, f"avg_pool{dims}d")(x, 3, **kwargs))
    for size, stride, padding in itertools.product((5, 6, 7, 8), (1, 2, 3, 4), (0, 1)):
        part = x[(..., *[slice(0, size)] * dims)]
        found = getattr(ours, name)(part, weight, stride, padding, ceil_mode=True)
        sized = getattr(ours, f"avg_pool{dims}d")(part, 3, stride, padding, ceil_mode=True)
        assert found.shape == sized.shape
    variables = (x[:, :, :5].clone().requires_grad_(), weight.requires_grad_())

    def call(x, w):
        return getattr(ours, name)(x, w, 2, 1, ceil_mode=True)

    assert torch.autograd.gradcheck(call, variables, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, variables, fast_mode=True)


def test_weighted_layer_learns():
    """Weights go to where the target is read; given ones stay, in the state_dict both."""
    torch.manual_seed(0)
    x = torch.randn(16, 2, 8, 8)
    layer = cnnkern.WeightedAvgPool2d(2, channels=2)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=2.0)
    for _ in range(100):
        optimizer.zero_grad()
        F.mse_loss(layer(x), x[:, :, ::2, 1::2]).backward()
        optimizer.step()
    share = layer.weight / layer.weight.sum((1, 2), keepdim=True)
    torch.testing.assert_close(share[:, 0, 1], torch.ones(2), rtol=0.05, atol=0.05)
    given = cnnkern.WeightedAvgPool2d(2, weight=torch.ones(2, 2))
    assert list(given.state_dict()) == list(layer.state_dict()) == ["weight"]
    assert not list(given.parameters())
    assert "channels=2" in repr(layer) and "weight given" in repr(given)


@pytest.mark.parametrize("dims", DIMS)
def test_global_pools(dims):
    x = cases.reals((2, 3, 5, 4, 6)[: dims + 2], "x")
    axes = tuple(range(2, dims + 2))
    pairs = [
        ("Avg", (), x.mean(axes, keepdim=True)),
        ("Max", (), x.amax(axes, keepdim=True)),
        ("LP", (2,), torch.linalg.vector_norm(x, 2, axes, keepdim=True)),
    ]
    for kind, args, truth in pairs:
        layer = getattr(cnnkern, f"Global{kind}Pool{dims}d")(*args)
        torch.testing.assert_close(layer(x), truth)
        torch.testing.assert_close(layer(x[0]), truth[0])


@pytest.mark.parametrize("dims", DIMS)
def test_spatial_pyramid_pool(dims):
    """One length for any size; each entry is the mean of its bin."""
    layer = cnnkern.SpatialPyramidPool((1, 3))
    for size in ((7, 5, 6), (4, 9, 3)):
        x = cases.reals((2, 3, *size[:dims]), "x")
        found = layer(x)
        assert found.shape == (2, 3 * (1 + 3**dims))
        torch.testing.assert_close(found[:, :3], x.flatten(2).mean(2))
        for cell, place in enumerate(itertools.product(range(3), repeat=dims)):
            bins = [slice(o * i // 3, -(-(o + 1) * i // 3)) for o, i in zip(place, x.shape[2:])]
            mean = x[(..., *bins)].flatten(2).mean(2)
            torch.testing.assert_close(found[:, 3:].view(2, 3, -1)[..., cell], mean)
