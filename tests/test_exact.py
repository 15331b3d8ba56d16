"""Exact: small integers, so every sum is exact in fp32; every kernel, bit for bit."""

import cases
import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from cases import Case
from cnnkern import _C, _ops, problems, testing
from cnnkern.problems import Problem

CPU = list(cases.cases(("cpu",)))
EMULATED = list(cases.cases(("sm_75", "sm_80")))
needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())


def check(case: Case) -> None:
    case.skip_if_refused()
    problem, ops = Problem.parse(case.text), case.operators()
    wanted = cases.exact_reference(cases.geometry(case))
    tensors = cases.prepared(problem, cases.operands(problem))
    with testing.force_kernel(problem.operation, case.kernel), testing.launches() as ran:
        found = problems.run(problem, ops, *tensors)
    output = found[0] if isinstance(found, tuple) else found
    assert output.dtype == problem.dtype, case
    testing.assert_equal(output, wanted, str(case))
    if isinstance(found, tuple):
        testing.assert_equal(found[1], cases._indices(problem), f"{case} (indices)")
    assert any(case.kernel in name for name in ran), f"{case}: {dict(ran)} ran instead"


@pytest.mark.parametrize("case", CPU, ids=str)
def test_cpu(case):
    check(case)


@needs_emulator
@pytest.mark.parametrize("case", EMULATED, ids=str)
def test_emulator(case):
    check(case)
