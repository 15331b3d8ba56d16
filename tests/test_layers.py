"""Options of layers, each against torch's: padding by name and mode, output sizes, lazy layers."""

import copy
import pickle

import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import testing

DIMS = (1, 2, 3)
LAZY = [f"Lazy{kind}{dims}d" for kind in ("Conv", "ConvTranspose") for dims in DIMS]


def pair(name: str, *args, **kwargs) -> tuple[nn.Module, nn.Module]:
    """Our layer and torch's with the same small integers for parameters, so sums are exact."""
    mine, theirs = getattr(cnnkern, name)(*args, **kwargs), getattr(nn, name)(*args, **kwargs)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(testing.integer_tensor(*parameter.shape))
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


def assert_same(mine: nn.Module, theirs: nn.Module, x: torch.Tensor, *args) -> None:
    """Outputs, and the gradients of the input and of every parameter; nothing ran on torch's."""
    found = []
    for layer in (mine, theirs):
        leaf = x.clone().requires_grad_()
        with testing.launches() as ran:
            output = layer(leaf, *args)
            output.backward(testing.integer_tensor(*output.shape))
        found.append([output, leaf.grad, *(p.grad for p in layer.parameters())])
        assert bool(ran) == (layer is mine)
    for actual, expected in zip(*found, strict=True):
        testing.assert_equal(actual, expected)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel, dilation", [(3, 1), (4, 1), (3, 2), (2, 3)])
def test_padding_by_name(dims, padding, kernel, dilation):
    layers = pair(f"Conv{dims}d", 2, 3, kernel, padding=padding, dilation=dilation)
    assert_same(*layers, testing.integer_tensor(2, 2, *range(7, 7 + dims)))


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("padding", [2, "same"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes(dims, padding, mode):
    layers = pair(f"Conv{dims}d", 2, 3, 4, padding=padding, padding_mode=mode)
    assert_same(*layers, testing.integer_tensor(2, 2, *range(6, 6 + dims)))
    assert_same(*layers, testing.integer_tensor(2, *range(6, 6 + dims)))  # no batch


@pytest.mark.parametrize("dims", DIMS)
def test_padding_by_name_with_strides_is_torchs_error(dims):
    for module in (cnnkern, nn):
        with pytest.raises(ValueError, match="padding='same' is not supported for strided"):
            getattr(module, f"Conv{dims}d")(2, 3, 3, padding="same", stride=2)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_transposed_padding_modes_are_torchs_error(dims, mode):
    message = f'Only "zeros" padding mode is supported for ConvTranspose{dims}d'
    for module in (cnnkern, nn):
        with pytest.raises(ValueError, match=message):
            getattr(module, f"ConvTranspose{dims}d")(2, 3, 3, padding_mode=mode)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_output_size(dims, extra):
    layers = pair(f"ConvTranspose{dims}d", 4, 6, 3, stride=3, padding=1, groups=2)
    x = testing.integer_tensor(2, 4, *range(3, 3 + dims))
    sizes = [3 * (size - 1) + 1 + extra for size in x.shape[2:]]
    assert_same(*layers, x, sizes)
    assert_same(*layers, x, [2, 6, *sizes])  # with batch and channels too


@pytest.mark.parametrize("dims", DIMS)
def test_output_size_out_of_reach_is_torchs_error(dims):
    x = torch.zeros(2, 4, *[3] * dims)
    for layer in pair(f"ConvTranspose{dims}d", 4, 6, 3, stride=3):
        with pytest.raises(ValueError, match="requested an output size of"):
            layer(x, [30] * dims)
        with pytest.raises(ValueError, match="output_size must have"):
            layer(x, [9] * (dims + 1))


@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers(name):
    dims = int(name[-2])
    mine = getattr(cnnkern, name)(6, 3, stride=2, groups=2)
    assert isinstance(mine, getattr(nn, name)) and "LazyConv" in repr(mine)
    x = testing.integer_tensor(2, 4, *[7] * dims)
    unfinished = copy.deepcopy(pickle.loads(pickle.dumps(mine)))
    for layer in (mine, unfinished):
        with testing.launches() as ran:
            layer(x)
        assert sum(ran.values()) == 1  # also the first batch
        assert type(layer) is getattr(cnnkern, name.removeprefix("Lazy"))
    theirs = getattr(nn, name)(6, 3, stride=2, groups=2)
    theirs.load_state_dict(mine.state_dict())  # a lazy layer takes another's parameters
    with torch.no_grad():
        for parameter, copied in zip(mine.parameters(), theirs.parameters(), strict=True):
            parameter.copy_(testing.integer_tensor(*parameter.shape))
            copied.copy_(parameter)
    assert_same(mine, theirs, x)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_complex_layers(kind, dims):
    mine = getattr(cnnkern, f"{kind}{dims}d")(4, 6, 3, groups=2, dtype=torch.complex64)
    theirs = getattr(nn, f"{kind}{dims}d")(4, 6, 3, groups=2, dtype=torch.complex64)
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 4, *[5] * dims, dtype=torch.complex64)
    found, baseline = mine(x), theirs(x)
    exact = theirs.to(torch.complex128)(x.to(torch.complex128))
    testing.assert_close_to_float64(found.detach(), baseline.detach(), exact.detach())
