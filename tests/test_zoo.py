"""Whole models of torchvision and timm, converted: the same numbers and state_dicts in float64."""

import contextlib

import pytest
import timm
import torch
import torchvision
from torch.utils._python_dispatch import TorchDispatchMode

import cnnkern
from cnnkern import testing

OUTPUT, GRADIENT = 1e-9, 1e-7  # ‖ours − torch's‖ / ‖torch's‖


def vision(name, *shape, **options):
    models = torchvision.models.video if name == "r3d_18" else torchvision.models
    make = getattr(models, name)
    return pytest.param(lambda: make(weights=None, **options), shape, id=name)


def image(name, *shape, **options):
    return pytest.param(
        lambda: timm.create_model(name, pretrained=False, num_classes=10, **options),
        shape,
        id=f"timm_{name}",
    )


# Name, input shape; what it has that others lack.
MODELS = [
    vision("alexnet", 2, 3, 63, 63),  # 11×11 filters, stride 4
    vision("resnet18", 2, 3, 65, 65),
    vision("resnext50_32x4d", 2, 3, 64, 64),  # groups
    vision("googlenet", 2, 3, 64, 64, aux_logits=False, init_weights=False),  # ceil_mode pools
    vision("densenet121", 2, 3, 64, 64),
    vision("squeezenet1_0", 2, 3, 48, 48),
    vision("mobilenet_v2", 2, 3, 64, 64),  # depthwise
    vision("shufflenet_v2_x0_5", 2, 3, 64, 64),
    vision("efficientnet_b0", 2, 3, 64, 64),  # squeeze and excitation, stochastic depth
    vision("r3d_18", 2, 3, 8, 32, 32),  # Conv3DSimple
    image("tf_efficientnet_b0", 2, 3, 67, 67),  # Conv2dSame
    image("eca_nfnet_l0", 2, 3, 64, 64),  # ScaledStdConv2d
    image("test_nfnet", 2, 3, 64, 64),
    image("regnetx_002", 2, 3, 64, 64),
]


class Watch(TorchDispatchMode):
    """Notes the operators of torch's that ours were to replace."""

    OURS = ("convolution", "max_pool", "mkldnn_convolution", "_slow_conv", "conv_depthwise")

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name.startswith("aten.") and any(word in name for word in self.OURS):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def step(model, x, watch):
    """One pass forward and backward: the output, and all gradients by name."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(1)  # dropout, stochastic depth
    with watch, testing.launches() as ran:
        y = model(x)
        (y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return y.detach(), {"input": x.grad, **grads}, ran


def distance(ours, theirs, least=0.0):
    return float((ours - theirs).norm()) / max(float(theirs.norm()), least)


@pytest.mark.parametrize("make, shape", MODELS)
def test_same_numbers(make, shape):
    torch.manual_seed(0)
    model = make().double()
    converted = cnnkern.convert(model)
    x = torch.randn(shape, dtype=torch.float64)
    for train in (False, True):
        model.train(train), converted.train(train)
        wanted, wanted_grads, _ = step(model, x, contextlib.nullcontext())
        watch = Watch()
        found, grads, ran = step(converted, x, watch)
        assert not watch.seen and sum(ran.values()) > 10
        assert float(wanted.norm()) > 0 and distance(found, wanted) < OUTPUT
        assert grads.keys() == wanted_grads.keys()
        # A bias before a batch norm has no gradient: theirs and ours are rounding, of 1e-12 or so.
        least = 1e-4 * max(float(grad.norm()) for grad in wanted_grads.values())
        for name, grad in wanted_grads.items():
            assert distance(grads[name], grad, least) < GRADIENT, name

    mine, theirs = converted.state_dict(), model.state_dict()
    assert list(mine) == list(theirs)
    assert all(mine[name].shape == theirs[name].shape for name in theirs)
    model.load_state_dict(mine), converted.load_state_dict(theirs)
