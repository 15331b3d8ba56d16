"""The networks of the registry: torchvision's weights, our kernels alone, layers of torch.nn."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnnkern import testing
from cnnkern.models import create, initialise, list_models

# Smaller inputs than the published ones that still reach every layer.
REDUCED = {
    "alexnet": (3, 64, 64),
    "googlenet": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64),
    "resnet18": (3, 64, 64),
    "resnet50": (3, 64, 64),
    "vgg11": (3, 32, 32),
    "vgg16": (3, 32, 32),
}


def batch_for(model, name, batch=2):
    """Random inputs."""
    example = model.example(batch)
    if not example.is_floating_point():
        return torch.randint_like(example, 1, 100)
    return torch.randn(batch, *REDUCED.get(name, model.input_shape))


def tensors(output):
    """All tensors of an output that may be a tuple of tuples."""
    return [output] if isinstance(output, Tensor) else [t for part in output for t in tensors(part)]


# Name in torchvision, number of classes, image size.
TORCHVISION = {
    "alexnet": ({}, 67),
    "vgg11": ({"init_weights": False}, 40),
    "vgg16": ({"init_weights": False}, 32),
    "googlenet": ({"init_weights": False, "aux_logits": True}, 70),
    "resnet18": ({}, 65),
    "resnet50": ({}, 64),
    "mobilenet_v2": ({}, 62),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_weights_load_and_give_its_outputs(name):
    options, size = TORCHVISION[name]
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=10, **options).eval()
    for module in theirs.modules():  # as after training: no normalisation is the identity
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    ours = create(name, num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        found, wanted = ours(images), theirs(images)
    assert float(wanted.norm()) > 0
    assert float((found - wanted).norm()) <= 1e-5 * float(wanted.norm())


def test_googlenets_auxiliary_logits_are_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=10, init_weights=False)
    ours = create("googlenet", num_classes=10)
    ours.load_state_dict(theirs.state_dict())
    for module in [*ours.modules(), *theirs.modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        found, wanted = ours(images), theirs(images)
    assert found._fields == wanted._fields
    for field in found._fields:
        a, b = getattr(found, field), getattr(wanted, field)
        assert float((a - b).norm()) <= 1e-4 * float(b.norm()), field  # batch statistics of 3


class Watch(TorchDispatchMode):
    """Notes torch's own convolutions and poolings."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name.startswith("aten.") and ("conv" in name or "pool" in name):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def step(model, inputs):
    """Forward and backward in training mode; which kernels ran."""
    with testing.launches() as ran:
        outputs = tensors(model.train()(inputs))
        sum((output * output).sum() for output in outputs).backward()
    return outputs, ran


@pytest.mark.parametrize("name", list_models())
def test_no_convolution_and_no_pooling_of_torchs(name):
    torch.manual_seed(0)
    model = create(name)
    watch = Watch()
    with watch:
        outputs, ran = step(model, batch_for(model, name))
    assert not watch.seen and ran
    assert all(bool(output.isfinite().all()) for output in outputs)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(parameter.grad.isfinite().all()), parameter_name


def test_the_watch_sees_torchs_own():
    model = create("alexnet_small", layers=nn)
    watch = Watch()
    with watch:
        _, ran = step(model, batch_for(model, "alexnet_small"))
    assert any("convolution" in name for name in watch.seen)
    assert any("max_pool" in name for name in watch.seen)
    assert not ran


SMALL = [name for name in list_models() if name.endswith("_small") or name == "lenet5"]


@pytest.mark.parametrize("name", SMALL)
def test_layers_of_torch_make_the_same_network(name):
    torch.manual_seed(3)
    ours = create(name)
    torch.manual_seed(3)
    theirs = create(name, layers=nn)
    state, wanted = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    inputs = batch_for(ours, name)
    with torch.no_grad():
        pairs = zip(tensors(ours.eval()(inputs)), tensors(theirs.eval()(inputs)))
    for found, expected in pairs:
        assert float((found - expected).norm()) <= 1e-5 * float(expected.norm())


@pytest.mark.parametrize("name", SMALL)
def test_small_ones_see_28_to_64_pixels(name):
    model = create(name)
    assert max(model.input_shape) <= 64 or model.task == "generation"
    assert sum(parameter.numel() for parameter in model.parameters()) < 3e6


def test_initialisation_by_name():
    layer = nn.Linear(400, 300)
    conv = nn.Conv2d(16, 32, 5)
    up = nn.ConvTranspose2d(32, 16, 4)
    net = nn.Sequential(layer, conv, up, nn.BatchNorm2d(3), nn.Embedding(50, 8, padding_idx=0))
    for scheme, std, conv_std in (
        ("he", (2 / 400) ** 0.5, (2 / (16 * 25)) ** 0.5),
        ("xavier", (2 / 700) ** 0.5, (2 / (48 * 25)) ** 0.5),
        ("normal", 0.02, 0.02),
    ):
        torch.manual_seed(0)
        initialise(net, scheme)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert conv.weight.std().item() == pytest.approx(conv_std, rel=0.03)
        assert not layer.bias.any() and not conv.bias.any()
    initialise(net, "he")
    assert up.weight.std().item() == pytest.approx((2 / (32 * 16)) ** 0.5, rel=0.03)
    initialise(net, "orthogonal")
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(300), atol=1e-4, rtol=0)
    assert not net[-1].weight[0].any() and net[-1].weight[1:].all()
    with pytest.raises(ValueError, match="no initialisation named 'gauss'; known: he, normal"):
        initialise(net, "gauss")
