"""Winograd: its bound of the error at every instruction set, its switch, and what a NaN does."""

import functools

import cases
import pytest
import torch
from test_real import torchs

import cnnkern
from cnnkern import problems, testing
from cnnkern.problems import Problem

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())

LINES = [
    "n2c64h56w56k64r3s3p1",
    "n1c128h28w28k128r3s3p1",
    "n1c256h14w14k256r3s3p1",
    "n1c512h14w14k512r3s3p1",
    "n4c512h7w7k512r3s3p1",
    "n1c1024h40w40k100r3s3p1",  # more weights than are shared at once
    "n1c1024h40w46k130r3s3p1",  # more patches than are shared at once
    "n3c40h61w59k72r3s3",
]
TEXTS = [
    f"{line} f32 {layout} {direction}"
    for line in LINES
    for layout in ("nchw", "nhwc")
    for direction in cases.CONV_DIRECTIONS
]
LAYER = "n1c64h56w56k64r3s3p1"


@functools.cache
def truth(geometry: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Normal random operands, rounded to float32, and PyTorch's result in float64."""
    problem = Problem.parse(f"{geometry} f64")
    values = cases.operands(problem, cases.reals)
    rounded = [value.float().double() for value in values]
    return rounded, torchs(problem, rounded)


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("text", TEXTS)
def test_error_bound(text, isa, monkeypatch):
    monkeypatch.setenv("CNNKERN_ISA", isa)
    try:
        cnnkern.info()
    except RuntimeError as error:
        pytest.skip(str(error))
    case = cases.Case(text, "cpu", "winograd")
    rounded, wanted = truth(cases.geometry(case))
    problem = Problem.parse(text)
    with testing.force_kernel("conv", "winograd"):
        found = problems.run(problem, torch.ops.cnnkern, *cases.prepared(problem, rounded))
    cases.assert_winograd_bound(found, wanted.numpy(), f"{isa} {text}")


@pytest.mark.skipif(bool(cases.has_emulator()), reason="the emulator is missing")
@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("winograd_64x32x8", "c512h4w8k64r3s3p1 f32 nchw fprop"),
        ("winograd_64x32x8", "c64h4w8k512r3s3p1 f32 nhwc dgrad"),
        ("winograd_4x4", "c1024h8w12k16r3s3p1 f32 nchw fprop"),
        ("winograd_4x4", "c16h8w12k1024r3s3p1 f32 nhwc dgrad"),
    ],
)
def test_error_bound_on_a_gpu_of_many_channels(kernel, text):
    case = cases.Case(f"n1{text}", "sm_75", kernel)
    rounded, wanted = truth(cases.geometry(case))
    problem = Problem.parse(case.text)
    with testing.force_kernel("conv", case.kernel):
        found = problems.run(problem, case.operators(), *cases.prepared(problem, rounded))
    cases.assert_winograd_bound(found, wanted.numpy(), str(case))


@pytest.fixture
def switched_off():
    cnnkern.backends.winograd = False
    yield
    cnnkern.backends.winograd = True


def test_the_switch(switched_off):
    plan = cnnkern.explain(LAYER)
    assert plan.kernel == "implicit_gemm"
    assert ("winograd", "it is switched off (cnnkern.backends.winograd)") in plan.refusals
    problem = Problem.parse(LAYER)
    tensors = cases.prepared(problem, cases.operands(problem, cases.reals))
    with testing.launches() as ran:
        problems.run(problem, torch.ops.cnnkern, *tensors)
    assert set(ran) == {"cpu.implicit_gemm"}
    cnnkern.backends.winograd = True
    assert cnnkern.explain(LAYER).kernel == "winograd"
    with testing.launches() as ran:
        problems.run(problem, torch.ops.cnnkern, *tensors)
    assert set(ran) == {"cpu.winograd"}


@needs_emulator
def test_the_switch_on_a_gpu(switched_off):
    text = "n8c32h32w32k64r3s3p1"  # its plan takes Winograd's kernel on sm_75
    case, taken = cases.Case(text, "sm_75", "winograd_64x32x8"), cnnkern.explain
    assert not taken(text, device="sm_75").kernel.startswith("winograd")
    assert case.refusal().endswith("it is switched off (cnnkern.backends.winograd)")
    cnnkern.backends.winograd = True
    assert taken(text, device="sm_75").kernel.startswith("winograd")


def outputs_with_nan() -> torch.Tensor:
    x, w = testing.integer_tensor(1, 16, 12, 12), testing.integer_tensor(48, 16, 3, 3)
    x[0, 3, 5, 6] = float("nan")
    return cnnkern.functional.conv2d(x, w, padding=1)[0, 0].isnan()


def test_a_nan_stays_within_the_tiles_that_read_it():
    nan = outputs_with_nan()
    wanted = torch.zeros(12, 12, dtype=torch.bool)
    wanted[4:8, 4:8] = True  # only this tile's patch, rows and columns 3 to 8, holds pixel (5, 6)
    assert torch.equal(nan, wanted)


def test_a_nan_is_seen_by_its_windows_only_without_winograd(switched_off):
    nan = outputs_with_nan()
    wanted = torch.zeros(12, 12, dtype=torch.bool)
    wanted[4:7, 5:8] = True
    assert torch.equal(nan, wanted)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("n1c64h56w56k64r3s3p1u2", "stride and dilation 1"),
        ("n1c64h56w56k64r3s3p1 f64", "it computes float32, this problem is float64"),
        ("n1c8h56w56k64r3s3p1", "8 channels a group are too few"),
        ("n1c64h56w56k2048r3s3p1", "2048 channels a group round too often"),
        ("n9c64h1w5k64r3s3p1", "a plane of 1x5 save less than half of the products"),
        ("n1c64h4w12k64r3s3p1", "3 tiles are too few"),
        ("n1c64h7w7k64r3s3p1 wgrad", "4 tiles are too few"),
        ("n1c64d3h9w9k64t1r3s3p0", "it takes planes"),
    ],
)
def test_refusals(line, reason):
    with pytest.raises(RuntimeError, match=reason):
        cnnkern.explain(line, kernel="winograd")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("n1c64h56w56k64r3s3p1u2", "stride and dilation 1"),
        ("n1c64h56w56k64r5s5p2", "filters of 3 x 3 over planes"),
        ("n1c1025h14w14k64r3s3p1", "1025 channels, more than 1024"),
        ("n1c64h14w14k1025r3s3p1 dgrad", "1025 channels, more than 1024"),
        ("n1024c64h256w256k64r3s3p1", "tensors of less than 2\\^31 elements"),
    ],
)
def test_refusals_of_4x4_on_a_gpu(line, reason):
    with pytest.raises(RuntimeError, match=reason):
        cnnkern.explain(line, device="sm_75", kernel="winograd_4x4")


@pytest.mark.parametrize(
    ("line", "device", "kernel"),
    [
        ("n32c64h56w56k64r3s3p1", "sm_86", "winograd_64x32x8"),  # V and products outgrow its L2
        ("n32c256h14w14k256r3s3p1", "sm_89", "winograd_4x4"),  # they stay in L2
        ("n32c512h7w7k512r3s3p1", "sm_75", "winograd_4x4"),  # many products for each transform
        ("n32c512h7w7k512r3s3p1", "sm_80", "implicit_gemm_mma_3xtf32_128x64x16"),
    ],
)
def test_which_winograd(line, device, kernel):
    assert cnnkern.explain(f"{line} nhwc", device=device).kernel == kernel
