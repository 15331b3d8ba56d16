"""The kernels of every CUDA course in the emulator: right ones pass, mistakes are reported."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nvcc import NVCC, compile_cubin

TESTS = Path(__file__).parent
ROOT = TESTS.parent
CLASSICS = TESTS / "emulator" / "classics"
sys.path.insert(0, str(TESTS / "cpp"))
import cpp_build  # noqa: E402

SEEDS = range(3)
RIGHT = ["sgemm", "transpose", "reduction", "histogram"]
SLOW = ["transpose_unpadded", "transpose_uncoalesced"]  # the results are right
NO_BARRIER, NO_SYNC_WARP = "no __syncthreads lies between them", "no sync_warp joins the two lanes"
SUM_STORES, SUM_LOAD = ["(&shared.sum[thread],"], "[thread + half]"
# case: what is missing, and the accesses that race: stores and a load of shared memory
RACES = {
    "sgemm_without_second_barrier": (NO_BARRIER, ["(&shared.a[y][x],", "(&shared.b[y][x],"], "fma"),
    "reduction_without_barrier": (NO_BARRIER, SUM_STORES, SUM_LOAD),
    "reduction_without_sync_warp": (NO_SYNC_WARP, SUM_STORES, SUM_LOAD),
    "histogram_without_barrier": (NO_BARRIER, ["[bin][thread], 0u", "(own, "], "(thread + i)"),
}


def run(variant, *arguments, seed=0, races=False):
    environment = {
        **os.environ,
        "CNNKERN_EMULATOR_SEED": str(seed),
        "CNNKERN_EMULATOR_RACES": str(int(races)),
    }
    program = cpp_build.build(variant) / "classics"
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("variant", ["fast", "sanitized"])
def test_right_kernels(variant, seed):
    ran = run(variant, *RIGHT, *SLOW, seed=seed, races=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(RIGHT + SLOW)} ran, 0 failed" in ran.stdout


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", RACES)
def test_race_names_both_lines(name, seed):
    missing, stores, load = RACES[name]
    ran = run("fast", name, seed=seed, races=True)
    assert ran.returncode == 1
    assert "emulator: race: " in ran.stdout
    assert missing in ran.stdout, ran.stdout
    assert f"repeat  CNNKERN_EMULATOR_SEED={seed}\n" in ran.stdout
    file = name.partition("_")[0] + ".cu"
    source = (CLASSICS / file).read_text().splitlines()
    accesses = re.findall(rf"^ +at +\S*/{file}:(\d+) in ", ran.stdout, re.M)
    texts = [source[int(line) - 1] for line in accesses]
    assert len(texts) == 2, ran.stdout
    # A load of one thread and a store of another, in either order.
    assert any(load in text for text in texts), texts
    assert any(store in text for text in texts for store in stores), texts


@pytest.mark.parametrize("name", RACES)
def test_result_is_wrong_for_some_seed(name):
    """The order of threads alone shows the mistake, without the race check."""
    outputs = [run("fast", name, seed=seed).stdout for seed in SEEDS]
    assert any("wrong result: element" in output for output in outputs), outputs


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "transpose",
            [
                "global store   192 requests, 4.0 sectors each, 4.0 needed",
                "shared load    192 requests, no bank conflicts",
            ],
        ),
        (
            "transpose_unpadded",
            [
                "global store   192 requests, 4.0 sectors each, 4.0 needed",
                "shared load    192 requests, 32-way bank conflicts",
            ],
        ),
        ("transpose_uncoalesced", ["global store   192 requests, 32.0 sectors each, 4.0 needed"]),
    ],
)
def test_transpose_is_counted(name, lines):
    """64 × 96 floats: 192 requests of 32 lanes, 128 bytes or 4 sectors each."""
    first_launch = run("fast", "--profile", name).stdout.split("\ntranspose<version>")[0]
    for line in lines:
        assert re.search(rf"transpose\.cu:\d+ +{line}$", first_launch, re.M), first_launch


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("name", RIGHT)
def test_compiles_for_a_gpu(name, tmp_path):
    source = Path(shutil.copy(CLASSICS / f"{name}.cu", tmp_path))
    assert compile_cubin(source, "80", f"-I{CLASSICS}").stat().st_size > 0


def test_the_example_of_the_docs(tmp_path):
    """docs/emulator.md shows examples/own_kernel.cu, how to build it, and what it prints."""
    page = (ROOT / "docs/emulator.md").read_text()
    kernel, command, report = re.search(
        r"```c\+\+\n(.*?)```.*?```\n(g\+\+.*?)```\n```\n(.*?)```", page, re.S
    ).groups()
    assert kernel in (ROOT / "examples/own_kernel.cu").read_text()
    program = str(tmp_path / "own_kernel")
    command = command.replace("build/own_kernel", program)
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.replace(f"{ROOT}/", "") == report, ran.stderr
