"""Integer tensors on the CPU: wrap-around sums, and sentences where there are no kernels."""

import pytest
import torch

import cnnkern
from cnnkern import functional
from cnnkern.functional._arguments import INTEGERS
from cnnkern.problems import Problem

DTYPES = [pytest.param(dtype, id=str(dtype)[6:]) for dtype in INTEGERS]
OPTIONS = {"stride": 2, "padding": 1, "dilation": 2}


def full_range(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max, shape, dtype=dtype)


def truth(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """torch's sums modulo 2^64, cut to the dtype: what sums in that dtype are."""
    assert values.dtype == torch.int64
    return values.to(dtype)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_wraps_around(dims, dtype):
    x, w = full_range((2, 4, *[7] * dims), dtype), full_range((6, 2, *[3] * dims), dtype)
    bias = full_range((6,), dtype)
    ours = getattr(functional, f"conv{dims}d")(x, w, bias, **OPTIONS, groups=2)
    theirs = getattr(torch.nn.functional, f"conv{dims}d")(
        x.long(), w.long(), bias.long(), **OPTIONS, groups=2
    )
    assert ours.dtype == dtype and torch.equal(ours, truth(theirs, dtype))
    if dtype != torch.int64:  # the sums did leave the range
        assert not torch.equal(ours.long(), theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_convolution_is_torchs_own(dtype):
    x, w = full_range((2, 3, 6, 6), dtype), full_range((4, 3, 3, 3), dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        ours = functional.conv2d(x.to(memory_format=layout), w, padding=1)
        assert torch.equal(ours, torch.nn.functional.conv2d(x, w, padding=1))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_convolution_wraps_around(dims, dtype):
    x, w = full_range((2, 4, *[4] * dims), dtype), full_range((4, 2, *[3] * dims), dtype)
    options = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    ours = getattr(functional, f"conv_transpose{dims}d")(x, w, **options)
    theirs = getattr(torch.nn.functional, f"conv_transpose{dims}d")(x.long(), w.long(), **options)
    assert torch.equal(ours, truth(theirs, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_and_bias_gradients_wrap_around(dtype):
    dy, x = full_range((2, 6, 3, 3), dtype), full_range((2, 4, 7, 7), dtype)
    ops = torch.ops.cnnkern
    ours = ops.conv_weight_grad(dy, x, [3, 3], [2, 2], [1] * 4, [2, 2], 2)
    theirs = torch.ops.aten.convolution_backward(
        dy.long(), x.long(), torch.zeros(6, 2, 3, 3, dtype=torch.int64), None, [2, 2], [1, 1],
        [2, 2], False, [0, 0], 2, [False, True, False],
    )[1]  # fmt: skip
    assert torch.equal(ours, truth(theirs, dtype))
    for layout in (torch.contiguous_format, torch.channels_last):
        sums = ops.conv_bias_grad(dy.to(memory_format=layout))
        assert torch.equal(sums, truth(dy.long().sum((0, 2, 3)), dtype))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool(dims, dtype):
    x = full_range((2, 3, *[8] * dims), dtype)
    x.flatten()[::3] = torch.iinfo(dtype).min
    arguments = (3, 2, 1, 1, True, True)
    ours = getattr(functional, f"max_pool{dims}d")(x, *arguments)
    theirs = getattr(torch.nn.functional, f"max_pool{dims}d")(x, *arguments)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool_of_the_least_value(dtype):
    x = torch.full((1, 1, 4, 4), torch.iinfo(dtype).min, dtype=dtype)
    assert torch.equal(functional.max_pool2d(x, 2), x[..., ::2, ::2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_emulator_refuses_with_a_sentence(dtype):
    x, w = full_range((1, 1, 4, 4), dtype), full_range((1, 1, 3, 3), dtype)
    with cnnkern.backend("emulator"):
        for call in (lambda: functional.conv2d(x, w), lambda: functional.max_pool2d(x, 2)):
            with pytest.raises(RuntimeError, match="is computed on the CPU only; use"):
                call()
    with pytest.raises(RuntimeError, match="is computed on the CPU only; use"):
        torch.ops.cnnkern_emulator.conv_bias_grad(x)


@pytest.mark.parametrize(
    "word, dtype", [("u8", "uint8"), *[(f"i{n}", f"int{n}") for n in (8, 16, 32, 64)]]
)
def test_problem_strings(word, dtype):
    layer = cnnkern.Conv2d(3, 4, 3)
    x = torch.zeros(1, 3, 8, 8, dtype=getattr(torch, dtype))
    explanation = cnnkern.explain(layer, x)
    assert explanation.problem == f"n1c3h8w8k4r3s3 {word}"
    assert explanation.kernel == "reference"
    assert explanation.precision == f"{dtype} (sums wrap around)"
    assert any("computes floating-point types" in reason for _, reason in explanation.refusals)
    assert Problem.parse(explanation.problem).dtype == x.dtype
    pool = cnnkern.explain(cnnkern.MaxPool2d(2), x)
    assert pool.problem == f"n1c3h8w8r2s2u2 {word} maxpool" and pool.kernel == "reference"
    with pytest.raises(RuntimeError, match=f"{dtype} is computed on the CPU only"):
        cnnkern.explain(explanation.problem, device="sm_80")


def test_problem_string_of_other_dtypes_is_a_sentence():
    with pytest.raises(TypeError, match="complex64 has no string; a complex convolution runs as"):
        cnnkern.explain(cnnkern.Conv1d(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.complex64))
