"""optimize(): what is fused and what not, that the values stay, and what it says when it cannot."""

import copy
import io
import pickle
import warnings

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import cnnkern
from cnnkern import testing
from cnnkern.optimize import Optimized

SIZES = {
    "alexnet": 64,
    "vgg11": 32,
    "googlenet": 64,
    "resnet18": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
}


def calibrated(model, x):
    """In evaluation, with the statistics of this batch: all layers count in the result."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def silent(model, *inputs, **options):
    """optimize() where it has nothing to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return cnnkern.optimize(model, inputs, **options)


def kinds(optimized):
    """The layers that are left, by class name, in order of their calls; functions by name."""
    nodes = [n for n in optimized.model.graph.nodes if n.op.startswith("call")]
    return [
        type(optimized.model.get_submodule(node.target)).__name__
        if node.op == "call_module"
        else getattr(node.target, "__name__", node.target)
        for node in nodes
        if node.target != "contiguous"
    ]


def check(model, x, wanted, **options):
    optimized = silent(model, x, **options)
    assert kinds(optimized) == wanted
    torch.testing.assert_close(optimized(x), model(x), rtol=1e-4, atol=1e-5)
    return optimized


@pytest.mark.parametrize("name", SIZES)
def test_torchvisions_models(name):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    x = torch.randn(8, 3, SIZES[name], SIZES[name])
    model = calibrated(getattr(torchvision.models, name)(num_classes=10, **options), x)
    before = copy.deepcopy(model.state_dict())
    optimized = silent(model, x)
    y, wanted = optimized(x), model(x)
    torch.testing.assert_close(y, wanted, rtol=1e-3, atol=1e-3)
    left = {type(module) for module in optimized.modules()}
    assert not left & {nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d, nn.MaxPool2d} or (
        name in ("alexnet", "vgg11")  # their classifiers' ReLU
        and left & {nn.BatchNorm2d, nn.ReLU, nn.Dropout, nn.Conv2d, nn.MaxPool2d} == {nn.ReLU}
    )
    assert "add" not in "".join(kinds(optimized))
    # The original is as it was, and so is what it shares with nobody.
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert type(next(m for m in model.modules() if isinstance(m, nn.Conv2d))) is nn.Conv2d
    smaller = torch.randn(1, 3, SIZES[name] + 8, SIZES[name])
    torch.testing.assert_close(optimized(smaller), model(smaller), rtol=1e-3, atol=1e-4)


def test_one_kernel_for_each_convolution_of_resnet18():
    x = torch.randn(1, 3, 32, 32)
    optimized = silent(torchvision.models.resnet18(), x)
    with testing.launches() as ran:
        optimized(x)
    assert sum(ran.values()) == 20 + 2  # convolutions, max pool, global average pool
    found = kinds(optimized)
    assert found.count("ConvBlock2d") == 20
    assert {*found} == {"ConvBlock2d", "MaxPool2d", "AdaptiveAvgPool2d", "flatten", "Linear"}


class Calls(nn.Module):
    """A module whose forward is the given function of itself and x."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.call = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.call(self, x)


def conv(dims=2, **options):
    return getattr(nn, f"Conv{dims}d")(6, 6, 3, padding=1, **options)


X = torch.randn(2, 6, 8, 9)
ACTIVATIONS = {
    "module": (lambda m, x: m.act(m.conv(x)), nn.ReLU()),
    "in place": (lambda m, x: m.act(m.conv(x)), nn.ReLU(inplace=True)),
    "F": (lambda m, x: F.relu(m.conv(x)), None),
    "F in place": (lambda m, x: F.relu(m.conv(x), inplace=True), None),
    "F positional": (lambda m, x: F.relu(m.conv(x), True), None),
    "torch": (lambda m, x: torch.relu(m.conv(x)), None),
    "method": (lambda m, x: m.conv(x).relu(), None),
    "method in place": (lambda m, x: m.conv(x).relu_(), None),
    "tanh": (lambda m, x: m.conv(x).tanh(), None),
    "sigmoid": (lambda m, x: torch.sigmoid(m.conv(x)), None),
    "gelu": (lambda m, x: F.gelu(m.conv(x)), None),
    "silu": (lambda m, x: m.act(m.conv(x)), nn.SiLU(inplace=True)),
    "relu6": (lambda m, x: m.act(m.conv(x)), nn.ReLU6(inplace=True)),
    "F.relu6": (lambda m, x: F.relu6(m.conv(x)), None),
    "hardswish": (lambda m, x: m.act(m.conv(x)), nn.Hardswish()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    forward, layer = ACTIVATIONS[name]
    check(Calls(forward, conv=conv(), act=layer), X, ["ConvBlock2d"])


def test_other_activations_stay():
    tanhs = Calls(lambda m, x: F.gelu(m.conv(x), approximate="tanh"), conv=conv())
    check(tanhs, X, ["Conv2d", "gelu"])
    check(nn.Sequential(conv(), nn.GELU("tanh")), X, ["Conv2d", "GELU"])
    check(nn.Sequential(conv(), nn.LeakyReLU()), X, ["Conv2d", "LeakyReLU"])


def in_place_sum(m, x):
    y = m.conv(x)
    y += x
    return F.relu(y)


def method_sum(m, x):
    return m.conv(x).add_(x).relu_()


SUMS = {
    "plus": lambda m, x: F.relu(m.conv(x) + x),
    "plus, other order": lambda m, x: F.relu(x + m.conv(x)),
    "+=": in_place_sum,
    "add_": method_sum,
    "torch.add": lambda m, x: torch.add(x, m.conv(x)).relu(),
    "add": lambda m, x: x.add(m.conv(x)).relu(),
    "without an activation": lambda m, x: x + m.conv(x),
    "of two": lambda m, x: F.relu(m.conv(x) + m.conv(x + 1)),
}


@pytest.mark.parametrize("name", SUMS)
def test_residuals(name):
    wanted = ["add", "Conv2d", "ConvBlock2d"] if name == "of two" else ["ConvBlock2d"]
    check(Calls(SUMS[name], conv=conv()), X, wanted)


def into_input(m, x):
    x = x * 1
    old = x
    x += m.conv(x)
    return x + old


def changed_meanwhile(m, x):
    x = x * 1
    y = m.conv(x)
    x.mul_(3)
    return F.relu(y) + x


NOT_SUMS = {
    "scaled": (lambda m, x: torch.add(m.conv(x), x, alpha=2), ["Conv2d", "add"]),
    "number": (lambda m, x: F.relu(m.conv(x) + 1), ["Conv2d", "add", "relu"]),
    "itself": (lambda m, x: (lambda y: y + y)(m.conv(x)), ["Conv2d", "add"]),
    "broadcast": (lambda m, x: m.conv(x) + x[:, :, :1], ["Conv2d", "getitem", "add"]),
    "read elsewhere": (
        lambda m, x: (lambda y: F.relu(y) + 2 * y)(m.conv(x)),
        ["Conv2d", "relu", "mul", "add"],
    ),
}


@pytest.mark.parametrize("name", NOT_SUMS)
def test_what_is_no_residual(name):
    forward, wanted = NOT_SUMS[name]
    check(Calls(forward, conv=conv()), X, wanted)


def test_a_write_in_between():
    model = Calls(changed_meanwhile, conv=conv())
    with pytest.warns(UserWarning, match="nothing is fused into 'conv': a tensor is changed in"):
        optimized = cnnkern.optimize(model, X)
    torch.testing.assert_close(optimized(X), model(X), rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_used_twice():
    shared = conv()
    model = calibrated(
        Calls(
            lambda m, x: m.conv(F.relu(m.norm(m.conv(x)))) + m.norm(m.conv(x + 1)),
            conv=shared,
            norm=nn.BatchNorm2d(6),
        ),
        X,
    )
    optimized = check(model, X, ["ConvBlock2d", "add", "ConvBlock2d", "ConvBlock2d"])
    assert len(list(optimized.model.graph.nodes)) == 7
    plain = Calls(lambda m, x: F.relu(m.conv(x)) + F.tanh(m.conv(x)).mul(2), conv=conv())
    check(plain, X, ["ConvBlock2d", "ConvBlock2d", "mul", "add"])
    half = Calls(lambda m, x: F.relu(m.conv(x)) + m.conv(x).mul(2), conv=conv())
    check(half, X, ["ConvBlock2d", "Conv2d", "mul", "add"])


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))

    def forward(self, x):
        y = F.relu(F.conv2d(x, self.weight, padding=1, groups=2) + x)
        y = torch.conv2d(y, self.weight, None, 1, 1, groups=2)
        return F.max_pool2d(F.dropout(y, training=self.training), 2).view(len(X), -1)


def test_function_calls():
    optimized = check(
        Functional().eval(), X, ["conv2d_bias_act", "conv2d", "max_pool2d", "reshape"]
    )
    with testing.launches() as ran:
        optimized(X)
    assert sum(ran.values()) == 3
    assert optimized.model.weight.is_contiguous(memory_format=torch.channels_last)
    again = pickle.loads(pickle.dumps(optimized))
    torch.testing.assert_close(again(X), optimized(X), rtol=0, atol=0)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dimensions_and_batch_norms_without_weights(dims):
    x = torch.randn(2, 6, *[7, 6, 5][:dims])
    norm = getattr(nn, f"BatchNorm{dims}d")
    model = nn.Sequential(
        conv(dims, bias=False), norm(6, affine=False), nn.SiLU(), nn.Identity(),
        getattr(nn, f"ConvTranspose{dims}d")(6, 4, 3, 2, output_padding=1), norm(4), nn.ReLU(),
    )  # fmt: skip
    calibrated(model, x)
    optimized = check(model, x, [f"ConvBlock{dims}d", f"ConvTranspose{dims}d", "ReLU"])
    if dims > 1:
        last = (torch.channels_last, torch.channels_last_3d)[dims - 2]
        assert optimized(x).is_contiguous(memory_format=last)


def test_batch_norms_that_stay():
    bare = nn.BatchNorm2d(6, track_running_stats=False)
    with pytest.warns(UserWarning, match="'1' is not folded into '0': it keeps no running"):
        optimized = cnnkern.optimize(nn.Sequential(conv(), bare), X)
    assert kinds(optimized) == ["Conv2d", "BatchNorm2d"]
    twice = Calls(lambda m, x: (lambda y: m.norm(y) * y)(m.conv(x)), conv=conv(), norm=bare)
    with pytest.warns(UserWarning, match="'norm' is not folded into 'conv': the .* elsewhere"):
        cnnkern.optimize(twice, X)
    grouped = nn.Sequential(nn.ConvTranspose2d(6, 6, 3, groups=2), nn.BatchNorm2d(6))
    with pytest.warns(UserWarning, match="the convolution is transposed and grouped"):
        cnnkern.optimize(grouped, X)
    call = Calls(lambda m, x: m.norm(F.conv2d(x, m.w)), w=nn.Parameter(torch.randn(6, 6, 1, 1)))
    call.norm = nn.BatchNorm2d(6)
    with pytest.warns(UserWarning, match="the convolution is a function call"):
        cnnkern.optimize(call, X)
    check(calibrated(nn.Sequential(nn.BatchNorm2d(6), conv()), X), X, ["BatchNorm2d", "Conv2d"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(dtype):
    model = nn.Sequential(conv(), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), conv(), nn.GELU())
    model = calibrated(model, X).to(dtype)
    optimized = silent(model, X.to(dtype))
    assert kinds(optimized) == ["ConvBlock2d", "MaxPool2d", "ConvBlock2d"]
    assert optimized(X.to(dtype)).dtype == dtype
    complex_layer = nn.Conv2d(6, 6, 3, dtype=torch.complex64)
    cnnkern.optimize(complex_layer, X.to(torch.complex64))


class Branching(nn.Module):
    """What torch.fx cannot follow; it views its input, too, which must be contiguous for that."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return F.relu(self.conv(x.view(len(x), -1).view(x.shape))) if x.sum() > -1e9 else x


def test_what_cannot_be_traced():
    model = nn.Sequential(conv(), nn.ReLU(), Branching(), conv(), nn.ReLU())
    with pytest.warns(UserWarning, match=r"'2' \(Branching\) cannot be traced \(TraceError: "):
        optimized = cnnkern.optimize(model, X)
    assert kinds(optimized) == ["ConvBlock2d", "Branching", "ConvBlock2d"]
    with testing.launches() as ran:
        torch.testing.assert_close(optimized(X), model(X), rtol=1e-4, atol=1e-5)
    assert sum(ran.values()) == 3
    with pytest.warns(UserWarning, match="optimize: Branching cannot be traced .* copy is conver"):
        whole = cnnkern.optimize(Branching(), X)
    assert type(whole.model.conv) is cnnkern.Conv2d and not whole.model.conv.weight.requires_grad


def test_hooks_keep_a_layer_alone_and_parametrizations_are_computed_once():
    hooked = nn.Sequential(conv(), nn.ReLU())
    hooked[0].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.warns(UserWarning, match="'0' has hooks, so nothing is fused into it"):
        optimized = cnnkern.optimize(hooked, X)
    torch.testing.assert_close(optimized(X), hooked(X))
    weighted = nn.Sequential(parametrizations.weight_norm(conv()), nn.ReLU())
    check(weighted, X, ["ConvBlock2d"])


def test_a_converted_model_and_our_own_layers():
    model = cnnkern.convert(nn.Sequential(conv(), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2)))
    model.append(cnnkern.ConvBlock2d(6, 6, 3, activation="tanh"))
    check(calibrated(model, X), X, ["ConvBlock2d", "AvgPool2d", "ConvBlock2d"])
    calls = Calls(
        lambda m, x: F.relu(cnnkern.functional.conv2d(x, m.w)),
        w=nn.Parameter(torch.randn(6, 6, 3, 3)),
    )
    check(calls, X, ["conv2d_bias_act"])


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    layers = {"conv": conv(), "norm": nn.BatchNorm2d(6), "drop": nn.Dropout2d(), "last": conv()}
    model = Calls(pickled_forward, **layers)
    return calibrated(model, X)


def pickled_forward(m, x):
    return F.relu(m.norm(m.conv(x)) + x) + m.drop(m.last(x))


def test_the_result_is_a_module_like_any_other(residual):
    optimized = check(residual, X, ["ConvBlock2d", "ConvBlock2d"])
    y = optimized(X)
    assert isinstance(optimized, Optimized)
    for other in (copy.deepcopy(optimized), pickle.loads(pickle.dumps(optimized))):
        assert torch.equal(other(X), y)
        assert all(not p.requires_grad for p in other.parameters())
    state = optimized.state_dict()
    assert set(state) == {
        "model.conv.weight", "model.conv.bias", "model.last.weight", "model.last.bias",
    }  # fmt: skip
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    other = copy.deepcopy(optimized)
    nn.init.zeros_(other.model.conv.weight)
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(X), y)
    x = X.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(residual(x).sum(), x)
    (found,) = torch.autograd.grad(optimized(x).sum(), x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_result_compiles_and_exports(residual):
    optimized = silent(residual, X)
    y = optimized(X)
    torch._dynamo.reset()
    compiled = torch.compile(optimized, fullgraph=True)
    torch.testing.assert_close(compiled(X), y, rtol=1e-5, atol=1e-5)
    program = torch.export.export(optimized, (X,))
    torch.testing.assert_close(program.module()(X), y, rtol=0, atol=0)


def test_it_stays_in_evaluation(residual):
    optimized = silent(residual, X)
    assert not optimized.training and optimized.eval() is optimized
    with pytest.raises(RuntimeError, match="optimize: an optimized model cannot be trained"):
        optimized.train()


def test_a_wrong_result_raises():
    noisy = Calls(lambda m, x: F.dropout(m.conv(x)), conv=conv())
    with pytest.raises(RuntimeError, match=r"output 0 differs from the original's by .* 1e-03 is"):
        cnnkern.optimize(noisy, X)
    with pytest.raises(RuntimeError, match="or change a tensor in place"):
        cnnkern.optimize(Calls(into_input, conv=conv()), X)
    with pytest.raises(RuntimeError, match="but 0e\\+00 is allowed"):
        cnnkern.optimize(calibrated(nn.Sequential(conv(), nn.BatchNorm2d(6)), X), X, tolerance=0)


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x, y, scale=2.0):
            return {"sum": F.relu(self.conv(x) + y), "flat": (x * scale).view(len(X), -1)}

    optimized = silent(Two(), X, X + 1)
    assert kinds(optimized) == ["ConvBlock2d", "mul", "reshape"]
    assert set(optimized(X, X)) == {"sum", "flat"}
