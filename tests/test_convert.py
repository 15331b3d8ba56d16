"""convert, revert and enabled: same objects, other kernels."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import cnnkern
from cnnkern import testing

F = torch.nn.functional


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), self.shared, nn.BatchNorm2d(4), self.shared, nn.MaxPool2d(2)
        )
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

    def forward(self, x):
        return self.up(self.layers(x))


class Scaled(nn.Conv2d):
    """A user's layer with a forward of its own."""

    def forward(self, input):
        return 2 * F.conv2d(input, self.weight, self.bias, stride=self.stride)


class Undecorated(nn.MaxPool2d):
    """A user's layer that only changes the constructor."""

    def __init__(self):
        super().__init__(3, 2)


def check_runs_ours(model, x, kernels: int) -> torch.Tensor:
    """The output, after checking that so many of our kernels made it."""
    with testing.launches() as ran:
        y = model(x)
    assert sum(ran.values()) == kernels, dict(ran)
    return y


def test_convert_keeps_everything_but_the_class():
    model = Block().eval()
    model.layers[0].weight.requires_grad_(False)
    model.layers[0].remark = "mine"
    model.layers[0].register_forward_hook(lambda module, args, output: output + 1)
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    x = torch.randn(2, 3, 8, 8)
    wanted = model(x)

    assert cnnkern.convert(model, inplace=True) is model
    assert type(model.layers[0]) is cnnkern.Conv2d and type(model.layers[4]) is cnnkern.MaxPool2d
    assert type(model.up) is cnnkern.ConvTranspose2d
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert all(b is buffers[name] for name, b in model.named_buffers())
    assert model.layers[1] is model.layers[3] is model.shared
    assert not model.training and not model.layers[0].weight.requires_grad
    assert model.layers[0].remark == "mine"
    torch.testing.assert_close(check_runs_ours(model, x, 5), wanted)

    classes = [type(m) for m in cnnkern.convert(model, inplace=True).modules()]
    assert classes == [type(m) for m in model.modules()], "converting twice changes nothing"

    cnnkern.revert(model, inplace=True)
    assert type(model.layers[0]) is nn.Conv2d and type(model.up) is nn.ConvTranspose2d
    assert all(p is parameters[name] for name, p in model.named_parameters())
    torch.testing.assert_close(check_runs_ours(model, x, 0), wanted)


def test_convert_copies_unless_in_place():
    model = Block()
    converted = cnnkern.convert(model)
    assert type(model.shared) is nn.Conv2d and type(converted.shared) is cnnkern.Conv2d
    assert converted.shared is converted.layers[1]
    assert converted.shared.weight is not model.shared.weight
    converted.load_state_dict(model.state_dict())
    assert repr(converted) == repr(model)
    reverted = cnnkern.revert(converted)
    assert type(reverted.shared) is nn.Conv2d and type(converted.shared) is cnnkern.Conv2d


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "MaxPool"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_layer_alone(kind, dims):
    name = f"{kind}{dims}d"
    layer = getattr(nn, name)(*((2,) if kind == "MaxPool" else (2, 3, 3)))
    x = torch.randn(1, 2, *[6] * dims)
    converted = cnnkern.convert(layer)
    assert type(converted) is getattr(cnnkern, name)
    torch.testing.assert_close(check_runs_ours(converted, x, 1), layer(x))
    assert type(cnnkern.revert(converted)) is getattr(nn, name)


@pytest.mark.parametrize(
    "layer", [Scaled(2, 2, 3, stride=2), Undecorated()], ids=["forward", "init"]
)
def test_subclasses_keep_their_own_code(layer):
    x = torch.randn(1, 2, 9, 9)
    converted = cnnkern.convert(layer)
    torch.testing.assert_close(check_runs_ours(converted, x, 1), layer(x))
    assert isinstance(converted, type(layer)) and repr(converted) == repr(layer)
    again = cnnkern.convert(converted)
    assert type(again) is type(converted)
    for other in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        testing.assert_equal(check_runs_ours(other, x, 1), converted(x))
    file = io.BytesIO()
    torch.save(converted, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    testing.assert_equal(check_runs_ours(loaded, x, 1), converted(x))
    assert type(cnnkern.revert(converted)) is type(layer)
    check_runs_ours(layer, x, 0)


def test_parametrized_layers():
    layer = parametrizations.weight_norm(nn.Conv2d(2, 3, 3))
    x = torch.randn(1, 2, 6, 6)
    converted = cnnkern.convert(layer)
    torch.testing.assert_close(check_runs_ours(converted, x, 1), layer(x))
    check_runs_ours(layer, x, 0)
    testing.assert_equal(check_runs_ours(copy.deepcopy(converted), x, 1), converted(x))
    assert type(cnnkern.revert(converted)).__bases__ == (nn.Conv2d,)
    nn.utils.parametrize.remove_parametrizations(converted, "weight")
    assert type(converted) is cnnkern.Conv2d


def test_hook_based_weight_norm_and_optimizer():
    layer = torch.nn.utils.spectral_norm(nn.Conv2d(2, 3, 3))
    cnnkern.convert(layer, inplace=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight_orig.detach().clone()
    layer(torch.randn(1, 2, 6, 6)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(layer.weight_orig, before)


LAZY = [f"Lazy{kind}{dims}d" for kind in ("Conv", "ConvTranspose") for dims in (1, 2, 3)]


@pytest.mark.parametrize("name", LAZY)
def test_lazy_layers(name):
    model = nn.Sequential(getattr(nn, name)(3, 3), nn.ReLU())
    theirs = nn.Sequential(getattr(nn, name)(3, 3), nn.ReLU())
    ours = cnnkern.convert(model)
    x = torch.randn(2, 4, *[5] * int(name[-2]))
    with testing.launches() as ran:
        ours(x)
    assert sum(ran.values()) == 1  # also the first batch
    assert type(ours[0]) is getattr(cnnkern, name.removeprefix("Lazy"))
    theirs(x)
    theirs.load_state_dict(ours.state_dict())
    testing.assert_close_to_float64(ours(x), theirs(x), theirs.double()(x.double()))
    model(x)  # the original is torch's as before
    assert type(model[0]) is getattr(nn, name.removeprefix("Lazy"))


def test_lazy_layers_revert():
    back = cnnkern.revert(cnnkern.convert(nn.LazyConv2d(3, 3)))
    assert type(back) is nn.LazyConv2d
    back(torch.zeros(1, 2, 5, 5))
    assert type(back) is nn.Conv2d


def test_lazy_layers_of_a_users_class():
    class Mine(nn.LazyConv2d):
        pass

    with pytest.raises(ValueError, match="layer '0' is a Mine without shapes"):
        cnnkern.convert(nn.Sequential(Mine(3, 3)))


# --------------------------------------------------------------------------------------------------
# enabled()

X = [torch.randn(2, 4, *[7] * dims) for dims in (1, 2, 3)]
W = [torch.randn(4, 4, *[3] * dims) for dims in (1, 2, 3)]


def calls():
    """(name, call) for every function that enabled() serves, positional and keyword."""
    for dims, (x, w) in enumerate(zip(X, W), start=1):
        conv, transposed, pool = f"conv{dims}d", f"conv_transpose{dims}d", f"max_pool{dims}d"
        for module in (torch, F):
            label = module.__name__
            for name in (conv, transposed):
                f = getattr(module, name)
                yield f"{label}.{name}", lambda f=f, x=x, w=w: f(x, w)
                yield (
                    f"{label}.{name} keywords",
                    lambda f=f, x=x, w=w: f(weight=w, input=x, bias=None, stride=2, padding=1),
                )
            f = getattr(module, pool)
            yield f"{label}.{pool}", lambda f=f, x=x: f(x, 2)
            yield (
                f"{label}.{pool} keywords",
                lambda f=f, x=x: f(input=x, kernel_size=3, stride=2, padding=1, ceil_mode=True),
            )
        f = getattr(F, pool)
        yield f"{pool} indices", lambda f=f, x=x: f(x, 2, return_indices=True)[1]
        f = getattr(F, f"{pool}_with_indices")
        yield f"F.{pool}_with_indices", lambda f=f, x=x: f(x, 2, 1, 1)[1]
        for transpose in (False, True):
            args = ([2] * dims, [1] * dims, [1] * dims, transpose, [0] * dims, 1)
            yield (
                f"torch.convolution {dims} {transpose}",
                lambda x=x, w=w, args=args: torch.convolution(x, w, None, *args),
            )
        layer = getattr(nn, f"Conv{dims}d")(4, 2, 3, padding_mode="circular", padding=1)
        yield f"nn.Conv{dims}d", lambda layer=layer, x=x: layer(x)
    yield "torch.max_pool1d_with_indices", lambda: torch.max_pool1d_with_indices(X[0], 2)[1]


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in calls()])
def test_enabled(call):
    with testing.launches() as outside:
        wanted = call()
    with cnnkern.enabled(), testing.launches() as inside:
        found = call()
    assert sum(outside.values()) == 0 and sum(inside.values()) == 1
    torch.testing.assert_close(found, wanted)


def test_enabled_nests_and_ends():
    with testing.launches() as ran:
        with cnnkern.enabled():
            with cnnkern.enabled():
                F.conv2d(X[1], W[1])
            F.conv2d(X[1], W[1])
        F.conv2d(X[1], W[1])
    assert sum(ran.values()) == 2


def test_enabled_ends_on_errors_and_never_falls_back():
    with pytest.raises(RuntimeError, match="input has dtype bool"), cnnkern.enabled():
        F.conv2d(X[1].bool(), W[1].bool())
    with testing.launches() as ran:
        F.conv2d(X[1], W[1])
    assert not ran


def test_enabled_gradients():
    x, w = X[1].clone().requires_grad_(), W[1].clone().requires_grad_()
    with cnnkern.enabled(), testing.launches() as ran:
        F.max_pool2d(F.conv2d(x, w), 2).sum().backward()
    assert (
        sum(ran.values()) == 5
    )  # two forward; the pooling's, the input's and the weight's gradient
