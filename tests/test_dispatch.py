"""Which operators run: inside our layers never PyTorch's convolution or pooling."""

import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import cnnkern
from cnnkern import testing

FOREIGN = re.compile(r"aten::.*(conv|max_pool|mkldnn|thnn|cudnn|im2col|unfold|bmm|matmul|\bmm\b)")


class Log(TorchDispatchMode):
    """The names of all operators that run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def layers():
    for dims in (1, 2, 3):
        x = torch.randn(2, 4, *[8] * dims)
        for kind in ("Conv", "ConvTranspose"):
            layer = getattr(cnnkern, f"{kind}{dims}d")(4, 6, 3, stride=2, padding=1, groups=2)
            yield pytest.param(layer, x, id=f"{kind}{dims}d")
        yield pytest.param(getattr(cnnkern, f"MaxPool{dims}d")(3, 2, 1), x, id=f"MaxPool{dims}d")


def run_all_directions(layer: torch.nn.Module, x: torch.Tensor) -> None:
    """Forward, backward and double backward."""
    x = x.clone().requires_grad_()
    varying = [x, *layer.parameters()]
    grads = torch.autograd.grad(layer(x).square().sum(), varying, create_graph=True)
    sum(g.square().sum() for g in grads).backward()


@pytest.mark.parametrize("layer, x", layers())
def test_only_our_operators_run(layer, x):
    with Log() as log, testing.launches() as ran:
        run_all_directions(layer, x)
    ours = [name for name in log.names if name.startswith("cnnkern::")]
    assert not [name for name in log.names if FOREIGN.search(name)]
    assert len(ours) >= 4 and sum(ran.values()) >= 4
    assert len(ours) == sum(ran.values()), "an operator did not reach a kernel"


@pytest.mark.parametrize("layer, x", layers())
def test_the_profiler_sees_no_other_kernel(layer, x):
    """Below the dispatcher too, where a mode sees nothing."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run_all_directions(layer, x)
    names = {event.key for event in profile.key_averages()}
    assert any(name.startswith("cnnkern::") for name in names)
    assert not [name for name in names if FOREIGN.search(name)]


def test_the_log_would_see_torchs_operators():
    with Log() as log:
        run_all_directions(torch.nn.Conv2d(4, 6, 3), torch.randn(2, 4, 8, 8))
        run_all_directions(torch.nn.MaxPool2d(2), torch.randn(2, 4, 8, 8))
    seen = [name for name in log.names if FOREIGN.search(name)]
    assert "aten::convolution" in seen and "aten::convolution_backward" in seen
    assert "aten::max_pool2d_with_indices" in seen
