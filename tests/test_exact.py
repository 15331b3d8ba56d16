"""Exact: small integers, so every sum is exact in fp32; every kernel, bit for bit.

Winograd's transforms divide by 6 and 24: its results are within its bound, and rounded to integers
they are the reference's, every element. A wrong index would be off by whole numbers.
"""

import csv
import dataclasses
from pathlib import Path

import cases
import numpy as np
import pytest
import reference
import support
import torch
from cases import Case

from cnnkern import _ops, problems, testing
from cnnkern.functional._arguments import FLOATS
from cnnkern.problems import Problem

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())


def is_exact(case: Case) -> bool:
    return Problem.parse(case.text).activation in (None, "relu", "relu6")


def settled(case: Case, found: torch.Tensor, wanted: np.ndarray) -> torch.Tensor:
    if case.kernel not in ("winograd", "winograd_4x4"):
        return found
    cases.assert_winograd_bound(found, wanted, str(case))
    return found.round()


def check(case: Case, place: str = "cpu") -> None:
    """``place`` is where the tensors are."""
    problem, ops = Problem.parse(case.text), case.operators()
    wanted = cases.exact_reference(cases.geometry(case))
    tensors = [t.to(place) for t in cases.prepared(problem, cases.operands(problem))]
    with testing.force_kernel(problem.operation, case.kernel), testing.launches() as ran:
        found = problems.run(problem, ops, *tensors)
    output, *more = (t.cpu() for t in (found if isinstance(found, tuple) else (found,)))
    assert output.dtype == problem.dtype, case
    testing.assert_equal(settled(case, output, wanted), wanted, str(case))
    if problem.preactivation:
        linear = dataclasses.replace(problem, activation=None)
        wanted = cases.expected(linear, cases.operands(linear))
        testing.assert_equal(settled(case, more[0], wanted), wanted, str(case))
    elif more:
        testing.assert_equal(more[0], cases.pool_indices(problem), f"{case} (indices)")
    assert any(case.kernel in name for name in ran), f"{case}: {dict(ran)} ran instead"


@pytest.mark.parametrize("case", filter(is_exact, cases.cpu_cases()), ids=str)
def test_cpu(case):
    check(case)
    support.saw_case(case)


@needs_emulator
@pytest.mark.parametrize("case", filter(is_exact, cases.emulated_cases()), ids=str)
def test_emulator(case):
    check(case)
    support.saw_case(case)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("sm_80", marks=needs_emulator)])
@pytest.mark.parametrize(
    "shape", [(2, 5, 7, 3), (3, 1, 4, 4), (1, 67, 1, 1), (2, 3, 2, 3, 2)], ids=str
)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_bias_grad(device, shape, layout, dtype):
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    dy = cases.integers(shape, "dy").to(dtype)
    if layout == "nhwc":
        dy = dy.contiguous(memory_format=last)
    found = _ops.conv_bias_grad(Case("", device, "").operators(), dy)
    testing.assert_equal(found, reference.bias_grad(dy.double().numpy()))
    support.saw(device, "bias_grad", "bias gradient", dtype, layout)


@pytest.mark.parametrize("device", ["cpu", pytest.param("sm_80", marks=needs_emulator)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_max_pool_values(device, dtype, layout):
    problem = Problem.parse(f"n2c3h9w8r3s3u2p1 maxpool {layout}")
    x = problem.tensor(cases.integers(problem.input_shape, "x")).to(dtype)
    window = (problem.kernel, problem.stride, problem.padding[::2], problem.dilation, False)
    found = _ops.max_pool_values(Case("", device, "").operators(), x, *window)
    testing.assert_equal(found, cases.expected(problem, [x.double()]))


@pytest.mark.parametrize("device", ["cpu", pytest.param("sm_80", marks=needs_emulator)])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_max_pool_gather(device, dtype):
    problem = Problem.parse("n2c3h9w8r3s3u2p1 maxpool")
    x, at = cases.integers(problem.input_shape, "x").to(dtype), cases.pool_indices(problem)
    window = (problem.kernel, problem.stride, problem.padding[::2], problem.dilation, False)
    found = _ops.max_pool_gather(Case("", device, "").operators(), x, at, *window)
    testing.assert_equal(found, x.flatten(2).gather(2, at.flatten(2)).view_as(at))
    support.saw(device, "max_pool_gather", "gather", dtype, "nchw")


def complete(request) -> bool:
    """Whether every test of this file ran before, and none was left out."""
    config = request.config
    chosen = any("::" in argument for argument in config.args)
    return not (chosen or config.option.keyword or config.option.markexpr)


def test_record_agrees_with_this_run(request):
    """docs/support.csv, which README's matrix is made of. The last test here: it looks back."""
    remedy = "run this file, then: python tools/update_support.py"
    if not complete(request):
        pytest.skip("only a run of this whole file sees every kernel")
    if reason := cases.has_emulator():
        pytest.skip(f"the record holds the emulator's runs: {reason}")
    root = Path(__file__).parents[1]
    seen = root / "build" / "support.csv"
    seen.parent.mkdir(exist_ok=True)
    with seen.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(support.SEEN))
    with (root / "docs" / "support.csv").open(newline="") as file:
        record = {tuple(row) for row in csv.reader(file)}
    missing, new = sorted(record - support.SEEN), sorted(support.SEEN - record)
    assert not missing, f"docs/support.csv claims what no test ran: {missing}; {remedy}"
    assert not new, f"docs/support.csv lacks what the tests ran: {new}; {remedy}"
