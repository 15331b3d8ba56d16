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
    for source in cpp_build.unit_sources()
    for name in re.findall(r"^TEST\((\w+)\)", source.read_text(), re.M)
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


@pytest.mark.parametrize(
    ("arch", "call", "compiles"),
    [
        (75, "mma<Mma16x8x8F16>({}, {}, {});", True),
        (75, "mma<Mma16x8x16F16>({}, {}, {});", False),
        (75, "mma<Mma8x8x4F64>({}, {}, {});", False),
        (75, "to_tf32(1);", False),
        (75, "cp_async_commit();", False),
        (80, "mma<Mma16x8x16F16>({}, {}, {}); to_tf32(1); cp_async_commit();", True),
    ],
)
def test_what_an_architecture_lacks_does_not_compile(tmp_path, arch, call, compiles):
    source, csrc = tmp_path / "kernel.cu", CPP.parents[1] / "csrc"
    source.write_text(
        '#include "cuda/primitives/cp_async.cuh"\n#include "cuda/primitives/mma.cuh"\n'
        f"void kernel() {{ using namespace cnnkern::emulated_sm{arch}; {call} }}\n"
    )
    flags = [*cpp_build.arch_flags(arch).split(), f"-I{csrc}/emulator/include", f"-I{csrc}"]
    compiled = run("g++", "-std=c++20", "-fsyntax-only", *flags, source)
    assert (compiled.returncode == 0) == compiles, compiled.stderr


@pytest.mark.parametrize("rounding", ["to_nearest", "toward_zero", "upwards"])
def test_mma_rounds_as_the_environment_says(programs, monkeypatch, rounding):
    monkeypatch.setenv("CNNKERN_EMULATOR_MMA", rounding)
    ran = run(programs("fast") / "test_emulator", "mma_rounds_as_the_environment_says")
    assert ran.returncode == (rounding == "upwards"), ran.stdout + ran.stderr
    assert ("must be to_nearest or toward_zero" in ran.stdout) == (rounding == "upwards")


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
