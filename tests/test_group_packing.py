"""Groups of few channels on tensor cores: how many become one, and what that means for a NaN."""

from __future__ import annotations

import re
from pathlib import Path

import cases
import pytest
import torch
from test_conv_plan import plan

from cnnkern import problems

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())

LINES = [
    line.split(maxsplit=1)[1]
    for file in ("conv.txt", "conv_bias_act.txt")
    for line in (Path(__file__).parent / "problems" / file).read_text().splitlines()
    if line.startswith("packed_")
]


def layer(per_group: int, channels: int, image: int, more: str) -> str:
    """A 3 x 3 layer of ResNeXt's shapes."""
    groups = channels // per_group
    return f"n32g{groups}c{channels}h{image}w{image}k{channels}r3s3p1 {more}"


def packed(problem: str, device: str = "sm_80") -> int:
    """Groups of the problem in one of the kernel's."""
    found = re.search(r"(\d+) groups of \d+ channels and \d+ filters", plan(problem, device)["why"])
    return int(found[1]) if found else 1


@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
@pytest.mark.parametrize("line", LINES)
def test_the_problems_of_the_emulator_are_packed(line: str, device: str) -> None:
    if device == "sm_80" or "bf16" not in line:
        assert packed(line, device) > 1


@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
@pytest.mark.parametrize(
    ("per_group", "channels", "image"), [(4, 128, 56), (8, 256, 28), (16, 512, 14)]
)
def test_packed_groups_fill_the_depth_of_a_tile(
    per_group: int, channels: int, image: int, direction: str, layout: str, device: str
) -> None:
    chosen = plan(layer(per_group, channels, image, f"f16 {layout} {direction}"), device)
    groups, together = channels // per_group, 32 // per_group
    assert chosen["kernel"].startswith("implicit_gemm_mma_") and chosen["tile"][1:] == (32, 32)
    assert chosen["grid"][2] == groups // together
    assert (
        f"{together} groups of {per_group} channels and {per_group} filters packed into one"
        in chosen["why"]
    )


@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_90"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("per_group", [4, 8, 16])
def test_weight_gradients_are_packed_too(per_group: int, layout: str, device: str) -> None:
    problem = layer(per_group, 256, 28, f"f16 {layout} wgrad")
    together = packed(problem, device)
    assert together * per_group in (32, 64)
    chosen = plan(problem, device)
    assert chosen["grid"][2] == 256 // per_group // together and chosen["split_k"] > 1


def test_in_channels_last_only_the_weight_moves() -> None:
    weight = 256 * 4 * 9 * 2  # read once, and written eight times as large
    chosen = plan(layer(4, 256, 28, "f16 nhwc"))
    assert f"packed into one: one layout pass of {9 * weight} bytes over weight;" in chosen["why"]
    assert chosen["workspace_bytes"] == 8 * weight

    image = 32 * 256 * 28 * 28 * 2
    planes = plan(layer(4, 256, 28, "f16 nchw"))
    assert planes["why"].startswith("NCHW, 8 groups of 4 channels")
    assert f"pass of {9 * weight + 4 * image} bytes over input, weight, output;" in planes["why"]

    # Of the gradient's workspace the blocks of the diagonal are read, and the parts follow it.
    problem = layer(4, 256, 28, "f16 nhwc wgrad")
    gradient, together = plan(problem), packed(problem)
    assert f"one layout pass of {2 * weight} bytes over weight;" in gradient["why"]
    parts = gradient["split_k"] * together * weight * 2  # in float
    assert gradient["workspace_bytes"] == together * weight + parts


@pytest.mark.parametrize(
    ("problem", "together"),
    [
        ("n32g24c96h28w28k96r3s3p1 f16 nhwc", 8),
        ("n32g20c80h28w28k80r3s3p1 f16 nhwc", 4),  # 8 do not divide 20
        ("n32g7c28h28w28k28r3s3p1 f16 nhwc", 7),  # 28 channels are filled up to 32
        ("n32g17c68h28w28k68r3s3p1 f16 nhwc", 1),  # 68 channels are more than the pass puts in one
        ("n32g16c256h28w28k64r3s3p1 f16 nhwc", 2),  # 16 channels and 4 filters
        ("n32g16c64h28w28k256r3s3p1 f16 nhwc dgrad", 8),
    ],
)
def test_a_divisor_of_the_groups_is_taken(problem: str, together: int) -> None:
    assert packed(problem) == together


@pytest.mark.parametrize(
    "problem",
    [
        "n1g8c64h14w14k64r3s3p1 f16 nhwc",  # too few blocks to pay for a pass
        layer(32, 256, 28, "f16 nhwc"),  # a group fills a tile's depth
        layer(4, 256, 28, "f32 nhwc"),
        "n32c4h28w28k32r3s3p1 f16 nhwc",
    ],
)
def test_what_gains_nothing_is_not_packed(problem: str) -> None:
    assert packed(problem) == 1


def run_twice(text: str, which: int, at: tuple[int, ...], bad: float) -> list[torch.Tensor]:
    """The result on the emulator, and that with one element of an operand replaced."""
    problem = cases.Problem.parse(text)
    operators = cases.Case(text, "sm_80", "").operators()
    values = cases.operands(problem)
    healthy = problems.run(problem, operators, *cases.prepared(problem, values))
    values[which][at] = bad
    return [healthy, problems.run(problem, operators, *cases.prepared(problem, values))]


@needs_emulator
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
def test_a_nan_reaches_the_groups_packed_with_its_own(direction: str, bad: float) -> None:
    """0 · NaN = 0 · infinity = NaN, in the windows that read the pixel; all else is as it was."""
    text = f"n1g8c32h6w5k32r3s3p1 f16 nhwc {direction}"
    together = packed(text)
    assert 1 < together < 8
    healthy, sick = run_twice(text, 0, (0, 1, 2, 2), bad)
    reached = torch.zeros_like(sick, dtype=torch.bool)
    reached[0, : 4 * together, 1:4, 1:4] = True
    assert torch.equal(~sick.isfinite(), reached)
    assert torch.equal(sick[~reached], healthy[~reached])


@needs_emulator
@pytest.mark.parametrize(("direction", "which"), [("fprop", 1), ("wgrad", 0)])
def test_a_nan_of_one_filter_stays_there(direction: str, which: int) -> None:
    """A weight meets its own group only; of a gradient the products of two groups are dropped."""
    text = f"n1g8c32h6w5k32r3s3p1 f16 nhwc {direction}"
    assert packed(text) > 1
    at = (5, 1, 1, 1) if direction == "fprop" else (0, 5, 2, 2)
    healthy, sick = run_twice(text, which, at, float("nan"))
    filters = 1 if direction == "fprop" else 0  # the axis of the result
    others = torch.tensor([k for k in range(32) if k != 5])
    assert sick.select(filters, 5).isnan().all()
    assert torch.equal(sick.index_select(filters, others), healthy.index_select(filters, others))
