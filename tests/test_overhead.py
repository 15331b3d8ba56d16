"""Call overhead: a convolution so small that only the way to the kernel counts."""

import time

import pytest
import torch

from cnnkern import functional as ours

F = torch.nn.functional
LIMIT = 2.0  # times torch's own


def forward(functions, x, w, b):
    return lambda: functions.conv2d(x, w, b, 1, 1)


def with_gradients(functions, x, w, b):
    x, w, b = (t.clone().requires_grad_() for t in (x, w, b))
    grad = torch.ones(1, 8, 8, 8)
    return lambda: torch.autograd.grad(functions.conv2d(x, w, b, 1, 1), (x, w, b), grad)


def seconds(call, calls: int = 100) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", [forward, with_gradients])
def test_conv2d(make, one_thread):
    """The least of three ratios, each of the least times of interleaved rounds."""
    tensors = torch.randn(1, 8, 8, 8), torch.randn(8, 8, 3, 3), torch.randn(8)
    mine, theirs = make(ours, *tensors), make(F, *tensors)
    seconds(mine), seconds(theirs)
    ratios = []
    for _ in range(3):
        rounds = [(seconds(mine), seconds(theirs)) for _ in range(30)]
        ratios.append(min(a for a, _ in rounds) / min(b for _, b in rounds))
    assert min(ratios) <= LIMIT, ratios
