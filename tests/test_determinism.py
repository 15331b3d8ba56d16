"""Determinism: the same bits from run to run and for any number of threads."""

import cases
import pytest
import torch

from cnnkern import _ops, problems, testing
from cnnkern.functional._arguments import FLOATS
from cnnkern.problems import Problem

LINES = [
    "n4c16h20w19k24r3s3p1",
    "n2c8h33w31k8r5s5u2p2",
    "n8c64h9w9k32r1s1",
    "n4g8c32h16w15k32r3s3p1",
    "n64c3h12w12k1r3s3",  # one filter, many pixels: the sums are long and the rows few
    "n2c6d7h8w9k8t3r3s3p1",
    "n2c34h29w31k33r3s3p1",  # by Winograd; the weight's gradient in two chunks of tiles
    "n1c33h9w10k70r3s3p1",  # by Winograd, a panel of filters a task
    "n4c16h30w31r3s3u2p1 maxpool",
    "n4c8h14w15r3s3u2p1 avgpool exclude_pad",
    "n4c8h14w15r5s4 adaptive_avgpool",
    "n4c8h14w15r5s4 adaptive_maxpool",
    "n4c8h14w15r5s3u2 fractional_maxpool",
    "n4c8h9w10r8s7 max_unpool",
]
TEXTS = [t for line in LINES for t in cases.texts(line) if "f64" not in t and "bf16" not in t]


@pytest.fixture
def threads():
    """Sets PyTorch's number of threads and restores it."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def bits(result) -> list[bytes]:
    tensors = result if isinstance(result, tuple) else (result,)
    return [bytes(t.clone(memory_format=torch.preserve_format).untyped_storage()) for t in tensors]


@pytest.mark.parametrize("text", TEXTS)
def test_runs_and_threads(text, threads):
    problem = Problem.parse(text)
    values = cases.operands(problem, cases.reals)
    tensors = cases.prepared(problem, values)
    found = []
    for count in (2, 2, 1, 3):
        threads(count)
        found.append(bits(problems.run(problem, torch.ops.cnnkern, *tensors)))
    assert all(each == found[0] for each in found), text


EVERY_KERNEL = [
    cases.Case(text, "cpu", kernel)
    for text in (
        "n2c4h9w8k6r3s3p1 wgrad",
        "n2g4c4h9w8k4r3s3p1 wgrad",
        "n2c4h9w8r3s3 maxpool",
        "n2c4h9w8r3s3 maxpool_backward",
        "n2c4h9w8r3s3p1 avgpool exclude_pad",
        "n2c4h9w8r3s3p1 avgpool_backward exclude_pad",
        "n2c4h9w8r3s3 adaptive_maxpool",
        "n2c4h9w8r3s3 adaptive_maxpool_backward",
        "n2c4h9w8r7s6 max_unpool",
    )
    for kernel in cases.kernels(Problem.parse(text), "cpu")
    if not cases.Case(text, "cpu", kernel).refusal()
]


@pytest.mark.parametrize("case", EVERY_KERNEL, ids=str)
def test_every_kernel(case, threads):
    problem = Problem.parse(case.text)
    tensors = cases.prepared(problem, cases.operands(problem, cases.reals))
    found = []
    with testing.force_kernel(problem.operation, case.kernel):
        for count in (2, 1):
            threads(count)
            found.append(bits(problems.run(problem, torch.ops.cnnkern, *tensors)))
    assert found[0] == found[1], str(case)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(8, 1, 50, 51), (4, 33, 40, 40), (64, 7, 3, 3)], ids=str)
def test_bias_grad(shape, dtype, threads):
    dy = cases.reals(shape, "dy").to(dtype)
    found = []
    for count in (2, 2, 1, 3):
        threads(count)
        found.append(bits(_ops.conv_bias_grad(torch.ops.cnnkern, dy)))
    assert all(each == found[0] for each in found)


@pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
def test_the_emulators_thread_order_does_not_matter(direction):
    """Another seed is another order of warps and blocks; split-K sums in its own fixed order."""
    from cnnkern import _emulator

    case = cases.Case(f"n4c5h16w17k6r3s3p1 {direction}", "sm_80", "")
    problem = Problem.parse(case.text)
    tensors = cases.prepared(problem, cases.operands(problem, cases.reals))
    found = []
    for seed in (1, 2, 3):
        _emulator.set_seed(seed)
        found.append(bits(problems.run(problem, case.operators(), *tensors)))
    assert all(each == found[0] for each in found)
