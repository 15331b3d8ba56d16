"""The SIMT emulator and, in it, every CUDA kernel: the C++ tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import gathered_gemms

CPP = Path(__file__).parent / "cpp"
sys.path.insert(0, str(CPP))
import cpp_build  # noqa: E402

PROBLEMS = sorted((Path(__file__).parent / "problems").glob("*.txt"))


def cases(variant):
    texts = [source.read_text() for source in cpp_build.unit_sources(variant)]
    return [name for text in texts for name in re.findall(r"^TEST\((\w+)\)", text, re.M)]


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("variant", ["fast", "portable"])
@pytest.mark.parametrize("name", cases("fast"))
def test_unit(programs, variant, name):
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
def test_no_kernel_races_on_any_problem(programs, arch):
    """In another order of threads than test_exact.py's, as test_sanitizers.py is in a third one."""
    ran = run(
        programs("fast") / "run_problems",
        *("--arch", arch, "--first-seed", 1, "--thin", "--races", *PROBLEMS),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_environment_switches_the_race_check_on(programs, monkeypatch):
    program = programs("fast") / "test_emulator"
    name = "without_the_switch_nothing_is_checked"
    assert run(program, name).returncode == 0
    monkeypatch.setenv("CNNKERN_EMULATOR_RACES", "1")
    assert "race: a write and an earlier write" in run(program, name).stdout


@pytest.mark.parametrize(("races", "limit"), [([], 0.3), (["--races"], 5.0)])
def test_speed(programs, monkeypatch, races, limit):
    """256 x 256 x 256 through the 128 x 128 x 8 tile, in seconds of processor time."""
    monkeypatch.setenv("CNNKERN_EMULATOR_THREADS", "1")
    kernel = "implicit_gemm_simt_128x128x8_vec4"
    for arch in ("sm_75", "sm_80"):
        ran = run(
            programs("fast") / "run_problems",
            *("--exactly", "--problem", "n1c256h16w16k256r1 nhwc", "--kernel", kernel),
            *("--arch", arch, *races),
        )
        seconds = re.search(rf"ran 1 {kernel} in ([\d.]+) s", ran.stdout)
        assert seconds, ran.stdout + ran.stderr
        assert float(seconds[1]) < limit


def test_every_kernel_runs_on_some_problem(programs):
    """A kernel that refuses every line of the problem files would pass unseen."""
    kernels = (Path(__file__).parents[1] / "csrc/cuda/conv/conv_kernels.inc").read_text()
    for name, direction, dtype, layout in gathered_gemms():
        assert_runs(programs, name, f"{dtype} {layout} {direction}")
    rows = re.findall(r"^CNNKERN_MMA_WGRAD\((\w+), .*, (\d+), (\d+), (\d+)\)", kernels, re.M)
    assert rows
    for dtype, m, n, k in rows:
        # sm_75's tensor cores know neither bfloat16 nor tf32.
        short = {"float16": "f16", "bfloat16": "bf16", "float32": "f32 tf32"}[dtype]
        times = 2 if dtype == "float16" else 1
        assert_runs(programs, f"implicit_gemm_mma_{m}x{n}x{k}", f"nhwc wgrad {short}", times)


def assert_runs(programs, name, text, times=2):
    """A small problem, on both architecture paths if ``times`` is 2."""
    problem = f"n1c72h9k72r1 {text}"
    ran = run(
        programs("fast") / "run_problems",
        *("--exactly", "--problem", problem, "--kernel", name),
    )
    assert f"ran {times} {name}" in ran.stdout, ran.stdout + ran.stderr


def test_a_kernel_that_does_not_exist_is_no_pass(programs):
    ran = run(
        programs("fast") / "run_problems",
        *("--exactly", "--problem", "n1c4h4k4r1", "--kernel", "no_such_kernel"),
    )
    assert ran.returncode != 0
    assert "0 ran" in ran.stdout
