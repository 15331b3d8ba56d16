"""Real: normal random values; error against float64 at most twice PyTorch's, plus a few ulps."""

import cases
import pytest
import torch

from cnnkern import problems, testing
from cnnkern.problems import Problem

F = torch.nn.functional
ACTIVATIONS = {None: lambda z: z, "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
ACTIVATIONS |= {"gelu": F.gelu, "silu": F.silu, "hardswish": F.hardswish}
CHOSEN = ("f32 nchw", "f64 nhwc", "f16 nhwc", "bf16 nchw")  # the exact tests have them all
CONVS = [
    case
    for case in cases.cpu_cases()
    if any(option in case.text for option in CHOSEN) and "maxpool" not in case.text
]


def torchs(problem: Problem, tensors: list[torch.Tensor]) -> torch.Tensor:
    """The same computation by PyTorch, in the same dtype."""
    conv = getattr(F, f"conv{len(problem.kernel)}d")
    pads = [side for axis in reversed(range(len(problem.kernel))) for side in
            problem.padding[2 * axis : 2 * axis + 2]]  # fmt: skip

    def forward(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return conv(F.pad(x, pads), w, bias, problem.stride, 0, problem.dilation, problem.groups)

    if problem.direction == "fprop":
        return ACTIVATIONS[problem.activation](sum(tensors[3:], start=forward(*tensors[:3])))
    first, second, *bias = tensors
    varying = torch.zeros(
        problem.input_shape if problem.direction == "dgrad" else problem.weight_shape,
        dtype=problem.dtype, requires_grad=True,
    )  # fmt: skip
    pair = (varying, second) if problem.direction == "dgrad" else (second, varying)
    (grad,) = torch.autograd.grad(forward(*pair), varying, first)
    return grad + bias[0].view(-1, *[1] * len(problem.kernel)) if bias else grad


@pytest.mark.parametrize("case", CONVS, ids=str)
def test_error_against_float64(case):
    case.skip_if_refused()
    problem = Problem.parse(case.text)
    # Rounded to the dtype first: the rounding of the inputs is nobody's error.
    rounded = [value.to(problem.dtype).double() for value in cases.operands(problem, cases.reals)]
    tensors = cases.prepared(problem, rounded)
    with testing.force_kernel(problem.operation, case.kernel):
        found = problems.run(problem, case.operators(), *tensors)
    found = found[0] if problem.preactivation else found
    truth = cases.expected(problem, rounded)
    testing.assert_close_to_float64(found, torchs(problem, tensors), truth, label=str(case))
