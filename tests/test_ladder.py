"""The ladder: no plan takes a rung unasked, its claims are counted, its table is up to date."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cases
import pytest
from nvcc import NVCC

from cnnkern import _C, explain, problems, testing
from cnnkern._profile import profile
from cnnkern.problems import Problem

ROOT = Path(__file__).parents[1]
LAYER = "n4c64h14w14k128r3s3p1 {} nhwc fprop"
RUNGS = sorted({row["name"] for row in _C.kernels() if row["name"].startswith("ladder_")})

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())


def text_of(rung: str) -> str:
    return LAYER.format("f16" if "tensor_cores" in rung else "f32")


def test_there_are_six_and_the_story_names_each_file():
    story = (ROOT / "docs" / "ladder.md").read_text()
    files = sorted((ROOT / "csrc/cuda/conv/ladder").glob("*.cu"))
    assert [f"ladder_{file.stem}" for file in files] == RUNGS and len(RUNGS) == 6
    assert all(f"ladder/{file.name})" in story for file in files)


@pytest.mark.parametrize("rung", RUNGS)
def test_a_plan_takes_a_rung_only_by_name(rung):
    planned = explain(text_of(rung), device="sm_80")
    assert not planned.kernel.startswith("ladder_")
    assert not any(name.startswith("ladder_") for name, _ in planned.refusals)
    assert explain(text_of(rung), device="sm_80", kernel=rung).kernel == rung


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("n1c4h4w4k4r3s3 f64 nhwc fprop", "computes float32, this problem is float64"),
        ("n1g2c8h4w4k8r3s3 nhwc fprop", "plain 2-d convolutions of one group"),
        ("n1c6h4w4k4r3s3 nhwc fprop", "loads 4 channels at a time, but C = 6"),
        ("n1c4h4w4k6r3s3 nhwc fprop", "stores 4 filters at a time, but K = 6"),
    ],
)
def test_refusals(text, reason):
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        _C.plan(text, "sm_80", "ladder_4_vectors")


@needs_emulator
@pytest.mark.parametrize("rung", RUNGS)
def test_accesses(rung):
    """What docs/ladder.md says of sectors and banks."""
    (launch,) = profile(Problem.parse(text_of(rung)), "sm_80", rung).launches
    assert rung in launch.kernel
    for site in launch.sites:
        if not site.is_global:
            paired = rung == "ladder_2_shared_memory" and site.kind == "shared store"
            assert site.max_ways == (2 if paired else 1), site
        elif "store" not in site.kind and rung != "ladder_1_direct":
            assert site.efficiency >= 0.9, site


@needs_emulator
def test_crooked_tensors():
    """They cannot be copied 16 bytes at a time, which the emulator would complain of."""
    problem = Problem.parse("n1c8h5w5k8r3s3p1 f16 nhwc fprop")
    case = cases.Case("", "sm_80", "")
    x, w, bias = cases.prepared(problem, cases.operands(problem))
    shifted = x.new_empty(x.numel() + 1)[1:].as_strided(x.shape, x.stride()).copy_(x)
    with testing.force_kernel("conv", "ladder_6_tensor_cores"):
        found = problems.run(problem, case.operators(), shifted, w, bias)
    testing.assert_equal(found, cases.expected(problem, cases.operands(problem)))


@needs_emulator
@pytest.mark.skipif(NVCC is None, reason="the table reads machine code; nvcc is not installed")
def test_the_table_is_up_to_date():
    command = [sys.executable, "tools/update_ladder.py", "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
