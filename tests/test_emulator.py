"""The SIMT emulator and, in it, every CUDA kernel: the C++ tests, with and without sanitizers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CPP = Path(__file__).parent / "cpp"
sys.path.insert(0, str(CPP))
import build as cpp_build  # noqa: E402

PROBLEMS = sorted((Path(__file__).parent / "problems").glob("*.txt"))
CASES = [
    name
    for source in ("test_emulator.cpp", "test_primitives.cpp", "test_profile.cpp")
    for name in re.findall(r"^TEST\((\w+)\)", (CPP / source).read_text(), re.M)
]
# A raw store out of bounds ends a process that AddressSanitizer watches.
NOT_SANITIZED = {"raw_write_into_a_red_zone_is_reported_at_block_end"}


@pytest.fixture(scope="session")
def programs():
    """variant -> folder of its programs, built when first asked for."""
    folders = {}

    def get(variant):
        if variant not in folders:
            folders[variant] = cpp_build.build(variant)
        return folders[variant]

    return get


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("variant", ["fast", "sanitized", "portable"])
@pytest.mark.parametrize("name", CASES)
def test_unit(programs, variant, name):
    if variant == "sanitized" and name in NOT_SANITIZED:
        pytest.skip("AddressSanitizer reports this one itself")
    ran = run(programs(variant) / "test_emulator", name)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("arch", ["sm_75", "sm_80"])
@pytest.mark.parametrize(("variant", "first_seed", "seeds"), [("fast", 1, 2), ("sanitized", 3, 1)])
def test_every_kernel_on_every_problem(programs, variant, first_seed, seeds, arch):
    ran = run(
        programs(variant) / "run_problems",
        *("--arch", arch, "--first-seed", first_seed, "--seeds", seeds, *PROBLEMS),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_kernel_runs_on_some_problem(programs):
    """A kernel that refuses every line of the problem files would pass unseen."""
    kernels = (Path(__file__).parents[1] / "csrc/cuda/conv/conv_kernels.inc").read_text()
    rows = re.findall(r"^CNNKERN_SIMT_(\w+)\((\w+), (\d), (\d+), (\d+), (\d+)\)", kernels, re.M)
    assert rows
    for direction, layout, vector, m, n, k in rows:
        name = f"implicit_gemm_simt_{m}x{n}x{k}" + (f"_vec{vector}" if vector != "1" else "")
        text = f"n1c72h9k72r1 {layout} {direction.lower()}"
        ran = run(
            programs("fast") / "run_problems", "--exactly", "--problem", text, "--kernel", name
        )
        assert f"ran 2 {name}" in ran.stdout, ran.stdout + ran.stderr


def test_a_kernel_that_does_not_exist_is_no_pass(programs):
    ran = run(
        programs("fast") / "run_problems",
        *("--exactly", "--problem", "n1c4h4k4r1", "--kernel", "no_such_kernel"),
    )
    assert ran.returncode != 0
    assert "0 ran" in ran.stdout
