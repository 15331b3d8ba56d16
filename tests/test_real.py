"""Real: normal random values; error against float64 at most twice PyTorch's, plus a few ulps.

Winograd has a bound of its own (``cases.assert_winograd_bound``).
"""

import cases
import pytest
import torch

from cnnkern import problems, testing
from cnnkern.problems import Problem

F = torch.nn.functional
ACTIVATIONS = {
    None: lambda z: z,
    "relu": F.relu,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
ACTIVATIONS |= {"gelu": F.gelu, "silu": F.silu, "hardswish": F.hardswish}
CHOSEN = ("f32 nchw", "f64 nhwc", "f16 nhwc", "bf16 nchw")  # the exact tests have them all


def rounds(text: str) -> bool:
    """Whether results are rounded, and torch has the operation; test_unfold.py has unfold's."""
    of_average = "avgpool" in text and max(Problem.parse(text).dilation) > 1
    return "max" not in text and "fold" not in text and not of_average


CASES = [
    case
    for case in cases.cpu_cases()
    if any(option in case.text for option in CHOSEN) and rounds(case.text)
]


def torchs(problem: Problem, tensors: list[torch.Tensor]) -> torch.Tensor:
    """The same computation by PyTorch, in the same dtype."""
    if problem.operation == "avg_pool":
        return torchs_avg_pool(problem, tensors[0])
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
        dtype=problem.dtype, device=first.device, requires_grad=True,
    )  # fmt: skip
    pair = (varying, second) if problem.direction == "dgrad" else (second, varying)
    (grad,) = torch.autograd.grad(forward(*pair), varying, first)
    return grad + bias[0].view(-1, *[1] * len(problem.kernel)) if bias else grad


def torchs_avg_pool(problem: Problem, tensor: torch.Tensor) -> torch.Tensor:
    dims = len(problem.input)
    if dims == 3:  # torch has no half there
        tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    kwargs = {} if dims == 1 else {"divisor_override": problem.divisor}

    def forward(x: torch.Tensor) -> torch.Tensor:
        if problem.adaptive:
            return getattr(F, f"adaptive_avg_pool{dims}d")(x, problem.output)
        return getattr(F, f"avg_pool{dims}d")(
            x, problem.kernel, problem.stride, problem.padding[::2], problem.ceil_mode,
            problem.count_include_pad, **kwargs,
        )  # fmt: skip

    if problem.direction == "forward":
        return forward(tensor).to(problem.dtype)
    x = torch.zeros(
        problem.input_shape, dtype=tensor.dtype, device=tensor.device, requires_grad=True
    )
    return torch.autograd.grad(forward(x), x, tensor)[0].to(problem.dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_against_float64(case):
    check_error(case)


def check_error(case: cases.Case) -> None:
    problem = Problem.parse(case.text)
    # Rounded to the dtype first: the rounding of the inputs is nobody's error.
    rounded = [value.to(problem.dtype).double() for value in cases.operands(problem, cases.reals)]
    tensors = cases.prepared(problem, rounded)
    with testing.force_kernel(problem.operation, case.kernel):
        found = problems.run(problem, case.operators(), *tensors)
    found = found[0] if problem.preactivation else found
    truth = cases.expected(problem, rounded)
    if case.kernel.startswith("winograd"):
        return cases.assert_winograd_bound(found, truth, str(case))
    testing.assert_close_to_float64(found, torchs(problem, tensors), truth, label=str(case))
