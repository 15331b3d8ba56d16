"""float32 as the sum of two tf32: which GPUs do it when, its error, and infinities and NaNs."""

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import cases
import pytest
import torch
from test_real import check_error, torchs
from test_tf32 import FAST, LAYER, POINTWISE, needs_emulator, plan, special

import cnnkern
from cnnkern import _C, problems, testing
from cnnkern.problems import Problem

ROOT = Path(__file__).parents[1]
NAME = "implicit_gemm_mma_3xtf32_"
KERNELS = [(row["direction"], row["name"]) for row in _C.kernels() if NAME in row["name"]]
REAL = [case for case in cases.emulated_cases() if case.kernel.startswith(NAME)]


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("device", FAST)
def test_where_three_products_are_faster_than_one(device, layout, direction):
    problem = f"{LAYER} {direction}".replace("nhwc", layout)
    chosen = plan(problem, device)
    assert chosen["kernel"].startswith(NAME) and not chosen["tf32"]
    allowed = plan(f"{problem} tf32", device)
    assert allowed["tf32"] and NAME not in allowed["kernel"]
    refused = [reason for name, reason in allowed["refusals"] if name.startswith(NAME)]
    assert not refused  # asked after the kernel that is faster
    forced = _C.plan(f"{problem} tf32", device, chosen["kernel"])
    assert forced["kernel"] == chosen["kernel"] and not forced["tf32"]


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("sm_75", "multiplies tf32 on tensor cores, which T4 cannot"),
        ("sm_86", "makes three products of tf32 for one, 43 times a cycle; the FP32 units of RTX"),
        ("sm_89", "makes three products of tf32 for one, 43 times a cycle; the FP32 units of RTX"),
        ("sm_120", "makes three products of tf32 for one, 43 times a cycle; the FP32 units of RTX"),
    ],
)
def test_elsewhere_the_fp32_units_do_it(device, reason, direction):
    chosen = plan(f"{POINTWISE} {direction}", device)
    refusals = [text for name, text in chosen["refusals"] if name.startswith(NAME)]
    assert chosen["kernel"].startswith("implicit_gemm_simt_") and refusals
    assert all(text.startswith(reason) for text in refusals)


def test_explain_says_so():
    told = cnnkern.explain(LAYER, device="sm_80").precision
    assert told.startswith("float32 (operands as the sum of two tf32, three products for one, fp32")


@needs_emulator
@pytest.mark.parametrize("case", REAL, ids=str)
def test_error_against_float64(case):
    check_error(case)


@needs_emulator
@pytest.mark.parametrize(("direction", "kernel"), KERNELS)
def test_long_sums(direction, kernel):
    """Of positive numbers, over 1,152 products: summed on the tensor cores they would drift."""
    sizes = {"fprop": "c128h4w4k8", "dgrad": "c8h4w4k128", "wgrad": "c8h24w48k8"}
    problem = Problem.parse(f"n1{sizes[direction]}r3s3p1 nhwc {direction}")
    operands = [value.abs().float().double() for value in cases.operands(problem, cases.reals)]
    tensors = cases.prepared(problem, operands)
    with testing.force_kernel("conv", kernel):
        found = problems.run(problem, cases.Case("", "sm_80", "").operators(), *tensors)
    truth = cases.expected(problem, operands)
    testing.assert_close_to_float64(found, torchs(problem, tensors), truth, label=problem.text)


@needs_emulator
def test_long_sums_where_tensor_cores_cut_what_they_add():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "test_long_sums and not cut",
    ]
    environment = {**os.environ, "CNNKERN_EMULATOR_MMA": "toward_zero"}
    ran = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0 and f"{len(KERNELS)} passed" in ran.stdout, ran.stdout


@needs_emulator
@pytest.mark.parametrize(("direction", "kernel"), KERNELS)
def test_products_of_every_kind_of_number(direction, kernel):
    """Infinities, NaNs and their signs as float32 multiplies them; the error at most 2^-21."""
    values = torch.cat([special(), torch.tensor([1.0, -2.0, 1 + 2.0**-20, -math.pi])])
    many = len(values)
    sizes = {"fprop": (4, many, many), "dgrad": (many, many, 4), "wgrad": (many, 1, many)}
    c, w, k = sizes[direction]
    problem = Problem.parse(f"n4c{c}h1w{w}k{k}r1s1 nhwc {direction}")
    x, weight, dy = map(torch.zeros, (problem.input_shape, problem.weight_shape,
                                      problem.output_shape))  # fmt: skip
    if direction == "wgrad":
        dy[0, :, 0, 0], x[0, :, 0, 0] = values, values
    else:
        gathered = x if direction == "fprop" else dy
        gathered[0, 0, 0] = values
        (weight[:, 0] if direction == "fprop" else weight[0])[..., 0, 0] = values
    operands = {"fprop": [x, weight], "dgrad": [dy, weight], "wgrad": [dy, x]}[direction]
    with testing.force_kernel("conv", kernel):
        found = problems.run(
            problem, cases.Case("", "sm_80", "").operators(), *map(problem.tensor, operands)
        )
    found = found[:, :, 0, 0] if direction == "wgrad" else found[0, :, 0, :]
    check(values, found, exact=torch.outer(values, values))


def check(values: torch.Tensor, found: torch.Tensor, exact: torch.Tensor) -> None:
    # The rounded largest numbers are no float32: of these the sum has a tf32's digits.
    largest, least = (2 - 2.0**-11) * 2.0**127, 2.0**-126
    for i, j in itertools.product(range(len(values)), repeat=2):
        got, wanted, pair = found[i, j].item(), exact[i, j].item(), (values[i], values[j])
        sizes = [abs(value.item()) for value in pair]
        label = f"{values[i].item()} x {values[j].item()}: {got}, not {wanted}"
        if math.isinf(wanted) and largest <= max(sizes) < math.inf:
            assert abs(got) >= 2.0**127 and got * wanted > 0, label  # overflows, or nearly
        elif math.isinf(wanted) and least > min(sizes):
            assert math.isnan(got) or got == wanted, label  # an infinity times next to nothing
        elif not math.isfinite(wanted):
            assert math.isnan(got) if math.isnan(wanted) else got == wanted, label
        elif math.isfinite(got):
            digits = 10 if max(sizes) >= largest else 21
            floor = max(sizes) * 2.0**-136 + 2.0**-148
            assert abs(got - wanted) <= abs(wanted) * 2.0**-digits + floor, label
        else:
            assert abs(wanted) > largest, label
