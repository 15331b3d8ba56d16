"""float32 rounded to tf32: which GPUs do it when, and what becomes of every kind of number."""

import cases
import pytest
import torch
from test_real import torchs

import cnnkern
from cnnkern import _C, problems, testing
from cnnkern.problems import Problem

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())

LAYER = "n32c64h56w56k64r3s3p1 nhwc"
POINTWISE = "n32c64h56w56k64r1s1 nhwc"  # which Winograd does not take before others are asked
FAST = ["sm_80", "sm_90", "sm_100"]  # more multiply-adds of tf32 than of float32
KERNELS = [
    (row["direction"], row["name"]) for row in _C.kernels() if row.get("tf32")
]  # of each direction


def nearest(values: torch.Tensor) -> torch.Tensor:
    """The nearest tf32, ties away from zero; below 2^-126 the one towards zero."""
    bits = values.view(torch.int32)
    half = (values.abs() >= 2.0**-126).int() * 0x1000
    rounded = ((bits + half) & ~0x1FFF).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values)


def plan(problem: str, device: str) -> dict:
    return _C.plan(problem, device, "")


def reasons(chosen: dict) -> list[str]:
    """Why the kernels that round do not take it."""
    rounding = {name for _, name in KERNELS}
    return [reason for name, reason in chosen["refusals"] if name in rounding]


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize("device", FAST)
def test_allowed_and_faster_it_is_taken(device, direction):
    chosen = plan(f"{LAYER} tf32 {direction}", device)
    assert chosen["kernel"].startswith("implicit_gemm_mma_") and chosen["tf32"]
    assert chosen["tile"][2] == 16
    exact = plan(f"{LAYER} {direction}", device)
    assert "3xtf32" in exact["kernel"] and not exact["tf32"]
    assert set(reasons(exact)) == {"rounds float32 to tf32, which this problem does not allow"}


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("sm_75", "multiplies tf32 on tensor cores, which T4 cannot"),
        ("sm_86", "multiplies tf32, 128 times a cycle: as often the FP32 units of RTX 3090 mul"),
        ("sm_89", "multiplies tf32, 128 times a cycle: as often the FP32 units of RTX 4090 mul"),
        ("sm_120", "multiplies tf32, 128 times a cycle: as often the FP32 units of RTX 5090 mul"),
    ],
)
def test_where_it_is_no_faster_float32_stays_exact(device, reason, direction):
    chosen = plan(f"{POINTWISE} tf32 {direction}", device)
    assert not chosen["tf32"] and reasons(chosen)
    assert all(text.startswith(reason) for text in reasons(chosen))
    without = plan(f"{POINTWISE} {direction}", device)
    assert (chosen["kernel"], chosen["grid"]) == (without["kernel"], without["grid"])


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("n32g32c64h56w56k64r3s3p1 nhwc", "packs groups of at least 4 channels and filters"),
        ("n2c3h9w9k8r1s1 nchw", "its layout pass and its products are modelled to take"),
    ],
)
def test_refused_in_a_sentence(problem, reason, direction):
    chosen = plan(f"{problem} tf32 {direction}", "sm_80")
    assert reasons(chosen) and all(text.startswith(reason) for text in reasons(chosen))


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize("device", FAST)
def test_other_layouts_come_by_a_pass(device, direction):
    image, filters = 32 * 64 * 56 * 56 * 4, 64 * 64 * 9 * 4
    planes = plan(f"{LAYER} tf32 {direction}".replace("nhwc", "nchw"), device)
    assert planes["kernel"].startswith("implicit_gemm_mma_") and planes["tf32"]
    moved = 2 * (2 * image + filters)
    assert f"NCHW: one layout pass of {moved} bytes over input, weight, output; " in planes["why"]
    parts = planes["split_k"] * filters if planes["split_k"] > 1 else 0
    assert planes["workspace_bytes"] == 2 * image + filters + parts
    odd = plan(f"{LAYER} tf32 {direction}".replace("c64", "c62"), device)
    assert odd["kernel"].startswith("implicit_gemm_mma_")
    assert "odd channels: one layout pass of" in odd["why"]


def test_only_convolutions_of_float32_have_it():
    for problem in ("n1c4h4w4k4r1s1 f16 tf32", "n1c4h4w4r2s2 maxpool tf32"):
        with pytest.raises(ValueError, match="tf32, which is for convolutions of f32"):
            Problem.parse(problem)
    text = "n1c4h4w4k4r1s1 nhwc tf32 dgrad"
    assert Problem.parse(text).text == text and Problem.parse(text).tf32


def test_explain_says_so():
    told = cnnkern.explain(f"{LAYER} tf32", device="sm_80").precision
    assert told.startswith("float32 (operands rounded to tf32, exact products, fp32 sums)")
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    x = torch.empty(32, 64, 56, 56).to(memory_format=torch.channels_last)
    for precision in ("tf32", "ieee"):
        before = torch.backends.cudnn.conv.fp32_precision
        torch.backends.cudnn.conv.fp32_precision = precision
        try:
            found = cnnkern.explain(layer, x, device="sm_80")
        finally:
            torch.backends.cudnn.conv.fp32_precision = before
        assert (" tf32" in found.problem) == (precision == "tf32")
        assert ("3xtf32" in found.kernel) == (precision == "ieee")
        assert f"conv.fp32_precision is '{precision}'" in found.precision
    assert "tf32" not in cnnkern.explain(layer, x).problem


def special() -> torch.Tensor:
    """Ties and their neighbours, carries, the largest and least numbers, infinities and NaNs."""
    patterns = [0, 0x3F800FFF, 0x3F801000, 0x3F801001, 0x3F803000, 0x3FFFEFFF, 0x3FFFF000]
    patterns += [0x7F7FEFFF, 0x7F7FF000, 0x7F7FFFFF, 0x7F800000, 0x00800000, 0x00801000]
    patterns += [0x00001FFF, 0x00002000, 0x007FFFFF]  # below 2^-126
    patterns += [0x7F800001, 0x7F801000, 0x7FBFFFFF, 0x7FC00000, 0x7FFFEFFF, 0x7FFFFFFF]  # NaN
    bits = torch.tensor([sign | pattern for pattern in patterns for sign in (0, 1 << 31)])
    return bits.to(torch.int32).view(torch.float32)


def times_one(values: torch.Tensor, problem: Problem, first: bool) -> list[torch.Tensor]:
    """Operands of a pointwise convolution whose GEMM multiplies values by 1, and zeros by zeros."""
    x = torch.zeros(problem.input_shape)
    w, dy = torch.zeros(problem.weight_shape), torch.zeros(problem.output_shape)
    lists = {"fprop": (x[0, 0, 0], w[:, 0, 0, 0]), "dgrad": (dy[0, 0, 0], w[0, :, 0, 0]),
             "wgrad": (dy[0, :, 0, 0], x[0, :, 0, 0])}  # fmt: skip
    mine, others = lists[problem.direction] if first else lists[problem.direction][::-1]
    mine.copy_(values)
    others[0] = 1
    return {"fprop": [x, w], "dgrad": [dy, w], "wgrad": [dy, x]}[problem.direction]


@needs_emulator
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
@pytest.mark.parametrize(("direction", "kernel"), KERNELS)
def test_every_kind_of_number_is_rounded_to_the_nearest(direction, kernel, first):
    values = special()
    many, few = len(values), 4
    sizes = {
        "fprop": (few, many, few) if first else (few, 1, many),
        "dgrad": (few, many, few) if first else (many, 1, few),
        "wgrad": (few, 1, many) if first else (many, 1, few),
    }
    c, w, k = sizes[direction]
    problem = Problem.parse(f"n4c{c}h1w{w}k{k}r1s1 nhwc tf32 {direction}")
    operands = [problem.tensor(v) for v in times_one(values, problem, first)]
    with testing.force_kernel("conv", kernel):
        found = problems.run(problem, cases.Case("", "sm_80", "").operators(), *operands)
    places = {
        "fprop": found[0, 0, 0] if first else found[0, :, 0, 0],
        "dgrad": found[0, 0, 0] if first else found[0, :, 0, 0],
        "wgrad": found[:, 0, 0, 0] if first else found[0, :, 0, 0],
    }
    testing.assert_equal(places[direction], nearest(values), str(problem.text))


@needs_emulator
@pytest.mark.parametrize(("direction", "kernel"), KERNELS)
def test_error_against_float64(direction, kernel):
    """At most twice PyTorch's on operands that are rounded to the nearest tf32."""
    problem = Problem.parse(f"n2c36h9w8k40r3s3p1 nhwc tf32 {direction}")
    tensors = cases.prepared(problem, cases.operands(problem, cases.reals))
    truth = cases.expected(problem, [value.double() for value in tensors])
    with testing.force_kernel("conv", kernel):
        found = problems.run(problem, cases.Case("", "sm_80", "").operators(), *tensors)
    rounded = [nearest(value) for value in tensors[:2]] + tensors[2:]
    testing.assert_close_to_float64(found, torchs(problem, rounded), truth, label=problem.text)
    same = cases.expected(problem, [value.double() for value in rounded])
    testing.assert_close_to_float64(found, torchs(problem, rounded), same, label=problem.text)


@needs_emulator
def test_the_emulator_rounds_only_if_it_is_told_to():
    problem = Problem.parse("n1c4h1w4k4r1s1 nhwc")
    x, w = problem.tensor(torch.full((1, 4, 1, 4), 1 + 2.0**-20)), torch.eye(4)[:, :, None, None]
    with cnnkern.backend("emulator"), testing.launches() as ran:
        y = cnnkern.functional.conv2d(x, w)
    testing.assert_equal(y, x)
    rounding = {name for _, name in KERNELS}
    assert ran and not any(name.removeprefix("emulator.") in rounding for name in ran)
