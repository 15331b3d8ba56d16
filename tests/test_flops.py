"""FlopCounterMode counts for our operators what it counts for torch's, forward and backward."""

import cases
import pytest
import small_net
import torch
from test_semantics import SMALL
from torch.utils.flop_counter import FlopCounterMode

import cnnkern
from cnnkern import functional as ours

F = torch.nn.functional


def counted(call, *tensors) -> tuple[int, int]:
    """Flops of the forward, and of the backward that gives every gradient."""
    tensors = [t.detach().requires_grad_() for t in tensors]
    with FlopCounterMode(display=False) as forward:
        y = call(*tensors)
    with FlopCounterMode(display=False) as backward:
        y.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("backend", ["cpu", "emulator"])
@pytest.mark.parametrize("name", SMALL)
def test_functions(name, backend):
    if backend == "emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    x, w, kwargs = SMALL[name]
    tensors = torch.randn(x), torch.randn(w)
    wanted = counted(lambda x, w: getattr(F, name)(x, w, **kwargs), *tensors)
    with cnnkern.backend(backend):
        found = counted(lambda x, w: getattr(ours, name)(x, w, **kwargs), *tensors)
    assert found == wanted and min(found) > 0


def test_a_model():
    x = small_net.batch()
    assert counted(small_net.ours(), x) == counted(small_net.torchs(), x)
