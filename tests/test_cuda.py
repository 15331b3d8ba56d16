"""The exact tests on a GPU, where there is one."""

import cases
import pytest
import torch

import cnnkern
from cnnkern import _ops, problems, testing
from cnnkern.problems import Problem

if "CUDA" in (remedies := cnnkern.info().remedies):
    pytest.skip(remedies["CUDA"], allow_module_level=True)

# The kernel table is the same for every GPU; the one that is here may refuse.
CASES = [
    cases.Case(text, "sm_80", kernel)
    for line in cases.lines()
    for text in cases.texts(line)
    for kernel in cases.kernels(Problem.parse(text), "sm_80")
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact(case):
    problem = Problem.parse(case.text)
    tensors = [t.cuda() for t in cases.prepared(problem, cases.operands(problem))]
    with testing.force_kernel(problem.operation, case.kernel):
        try:
            found = problems.run(problem, torch.ops.cnnkern, *tensors)
        except RuntimeError as error:
            assert "refuses this problem" in str(error), error
            pytest.skip(str(error))
    wanted = cases.exact_reference(cases.geometry(case))
    testing.assert_equal((found[0] if isinstance(found, tuple) else found).cpu(), wanted, str(case))


def test_bias_grad():
    dy = testing.integer_tensor(3, 5, 7, 6)
    testing.assert_equal(_ops.conv_bias_grad(torch.ops.cnnkern, dy.cuda()).cpu(), dy.sum((0, 2, 3)))


def test_streams_and_graph_capture():
    """Kernels follow the current stream: they can be captured, and nothing synchronises."""
    layer = cnnkern.Conv2d(3, 4, 3).cuda()
    x = torch.randn(2, 3, 8, 8, device="cuda")
    with torch.no_grad():
        wanted = layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = layer(x)
        graph.replay()
    testing.assert_equal(found.cpu(), wanted.cpu())
