"""PyTorch's own samples and error inputs for its operators, through ours.

A sample is a call that PyTorch tests its operator with; an error input is one that it must refuse.
Everything here comes from PyTorch: the calls, the dtypes, the phrases of the messages. Samples of
one operator and dtype run in one test; the sample that fails is printed.
"""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db, wrapper_set_seed
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

import cnnkern
from cnnkern import functional, testing

# Functions of torch.nn.functional; "name.variant" is a variant of its samples. All that adding an
# operator takes is its name here.
NAMES = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "unfold",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
    "max_unpool1d",
    "max_unpool1d.grad",
    "max_unpool2d",
    "max_unpool2d.grad",
    "max_unpool3d",
    "max_unpool3d.grad",
]
LARGEST_EMULATED = 20_000  # elements of a sample's tensors: more is no small sample

OPS: dict[str, OpInfo] = {
    f"{op.name.removeprefix('nn.functional.')}.{op.variant_test_name}".rstrip("."): op
    for op in op_db
    if op.name.startswith("nn.functional.")
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Samples are small: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ours(name: str) -> Callable:
    function = getattr(functional, name.partition(".")[0])
    # PyTorch's samples seed what draws random numbers, before each call.
    return functools.partial(wrapper_set_seed, function) if "fractional" in name else function


@dataclass(frozen=True)
class Constant:
    """An argument that nothing is differentiated by; ``call`` gives it the input's dtype."""

    value: Tensor


def samples(name: str, dtype: torch.dtype) -> Iterator[SampleInput]:
    for sample in OPS[name].sample_inputs("cpu", dtype):
        if isinstance(random := sample.kwargs.get("_random_samples"), Tensor):
            sample.kwargs["_random_samples"] = Constant(random.detach())
        yield sample


def rounded(value):
    """To multiples of 1/64: float64 sums of products are exact then, so torch's result is the truth
    for float64 too, and not merely another rounding."""
    if not isinstance(value, Tensor) or value.dtype not in (torch.float64, torch.complex128):
        return value
    parts = torch.view_as_real(value) if value.is_complex() else value
    parts = (parts * 64).round() / 64
    return torch.view_as_complex(parts) if value.is_complex() else parts


def differentiable(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def is_leaf(value) -> bool:
    return isinstance(value, Tensor) and differentiable(value.dtype)


def tensors(sample: SampleInput) -> list[Tensor]:
    """The differentiable ones."""
    found: list[Tensor] = []
    sample.transform(lambda value: found.append(value) or value if is_leaf(value) else value)
    return found


def dtypes(name: str) -> list[torch.dtype]:
    """What torch lists for the CPU, and complex32 where its operator takes that too."""
    found = sorted(OPS[name].dtypes, key=str)
    if torch.complex64 in found:
        sample = next(iter(OPS[name].sample_inputs("cpu", torch.complex32)))
        try:
            call(OPS[name].op, sample)
        except NotImplementedError:
            return found
        found.append(torch.complex32)
    return found


def cases(*wanted: torch.dtype) -> list:
    return [
        pytest.param(name, dtype, id=f"{name}-{str(dtype)[6:]}")
        for name in NAMES
        for dtype in dtypes(name)
        if not wanted or dtype in wanted
    ]


def call(function: Callable, sample: SampleInput):
    kwargs = {
        key: value.value.to(sample.input.dtype) if isinstance(value, Constant) else value
        for key, value in sample.kwargs.items()
    }
    return function(sample.input, *sample.args, **kwargs)


def with_tensors(function: Callable, sample: SampleInput, *leaves: Tensor) -> Tensor:
    """The first output of the call with other differentiable tensors."""
    rest = iter(leaves)
    output = call(function, sample.transform(lambda old: next(rest) if is_leaf(old) else old))
    return output if isinstance(output, Tensor) else output[0]


def strides(function: Callable, sample: SampleInput) -> list[tuple[int, ...]]:
    output = call(function, sample)
    return [value.stride() for value in ([output] if isinstance(output, Tensor) else output)]


@contextmanager
def showing(index: int, sample: SampleInput) -> Iterator[None]:
    """A failure inside names the sample."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"sample {index}, {sample.summary()}: {error}") from error


def evaluate(function: Callable, sample: SampleInput, dtype: torch.dtype) -> list[Tensor]:
    """Outputs, then the gradients of all differentiable inputs, computed in a dtype.

    Integer outputs (indices) come as they are.
    """
    leaves: list[Tensor] = []

    def leaf(value):
        if is_leaf(value):
            value = value.detach().to(dtype).requires_grad_()
            leaves.append(value)
        return value

    output = call(function, sample.transform(leaf))
    outputs = [output] if isinstance(output, Tensor) else list(output)
    if not leaves:
        return outputs
    wide = torch.complex128 if dtype.is_complex else torch.float64
    generator = torch.Generator().manual_seed(0)
    seed = rounded(torch.randn(outputs[0].shape, dtype=wide, generator=generator))
    seed = seed.to(outputs[0].dtype)
    gradients = torch.autograd.grad(outputs[0], leaves, seed)
    return [value.detach() for value in (*outputs, *gradients)]


def exact_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype


def compare(actual: list[Tensor], baseline: list[Tensor], exact: list[Tensor]) -> None:
    assert len(actual) == len(baseline)
    for mine, theirs, truth in zip(actual, baseline, exact):
        assert mine.dtype == theirs.dtype
        if differentiable(mine.dtype):
            testing.assert_close_to_float64(mine, theirs, truth)
        else:
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name, dtype", cases())
def test_samples(name, dtype):
    """Forward and backward, contiguous and not: errors at most twice torch's in the same dtype."""
    for index, sample in enumerate(samples(name, dtype)):
        sample = sample.transform(rounded)
        exact = evaluate(OPS[name].op, sample, exact_dtype(dtype))
        baseline = evaluate(OPS[name].op, sample, dtype)
        assert strides(ours(name), sample) == strides(OPS[name].op, sample), sample.summary()
        for given in (sample, sample.noncontiguous()):
            with showing(index, given):
                compare(evaluate(ours(name), given, dtype), baseline, exact)


@pytest.mark.parametrize("name, dtype", cases(torch.float32))
def test_samples_in_the_emulator(name, dtype):
    for index, sample in enumerate(samples(name, dtype)):
        if sum(tensor.numel() for tensor in tensors(sample)) > LARGEST_EMULATED:
            continue
        exact = evaluate(OPS[name].op, sample, exact_dtype(dtype))
        baseline = evaluate(OPS[name].op, sample, dtype)
        with showing(index, sample), cnnkern.backend("emulator"):
            compare(evaluate(ours(name), sample, dtype), baseline, exact)


# max_unpool's own samples name positions twice, where torch's derivative, too, is not the
# function's; those of the variant "grad" do not.
@pytest.mark.parametrize(
    "name, dtype",
    [
        case
        for case in cases(torch.float64, torch.complex128)
        if f"{case.values[0]}.grad" not in OPS
    ],
)
def test_derivatives(name, dtype):
    """First and second derivatives, reverse and forward mode, against finite differences."""
    forward = OPS[name].supports_forward_ad
    for index, sample in enumerate(samples(name, dtype)):
        inputs = [value.detach().requires_grad_() for value in tensors(sample)]
        function = functools.partial(with_tensors, ours(name), sample)
        with showing(index, sample):
            torch.autograd.gradcheck(function, inputs, check_forward_ad=forward, fast_mode=True)
            torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].error_inputs_func])
def test_error_inputs(name):
    """torch's exception type, and its phrase in our sentence."""
    for index, error in enumerate(OPS[name].error_inputs("cpu")):
        with showing(index, error.sample_input), pytest.raises(error.error_type) as found:
            call(ours(name), error.sample_input)
        assert type(found.value) is error.error_type
        assert re.search(error.error_regex, str(found.value)), (str(found.value), error.error_regex)
