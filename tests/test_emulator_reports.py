"""What a person is told of a bug planted in a production kernel: which access, where, why."""

import re

import pytest
from mutants import GEMM, POOL, Mutant, build, cpp_build

import cnnkern
from cnnkern import backends

GEMM_PROBLEM = ("n1c8h9w8k67r3s3p1 nhwc", "implicit_gemm_simt_64x64x8_vec4")
POOL_PROBLEM = "n2c3h8w8r2s2u2 maxpool"

# name: (file, what is replaced, by what, source compiled again, (problem, kernel), report)
REPORTS = {
    "race_names_both_accesses": (
        GEMM,
        "__syncthreads();  // this tile has arrived",
        "// this tile has arrived",
        "cuda/conv/fprop.cu",
        GEMM_PROBLEM,
        r"race: a read and an earlier write by cp.async are not ordered, both touch byte \d+ of "
        r"shared memory\n  earlier write by cp.async of bytes \d+-\d+ of shared memory\n"
        r" +at .*tile_loader.cuh:\d+ in .*\n +by thread \(\d+, 0, 0\), warp \d, lane \d+\n"
        r"  now     read of bytes \d+-\d+ of shared memory\n"
        r"  missing no __syncthreads lies between them; the block has passed none so far\n"
        r"  at      .*implicit_gemm_simt.cuh:\d+ in .*\n  kernel  .*gemm_fprop.*\n"
        r"  block   \(\d, 0, 0\)\n  thread  \(\d+, 0, 0\), warp \d, lane \d+",
    ),
    "missing_wait_names_the_copy": (
        GEMM,
        "cp_async_wait<stages - 2>();",
        "",
        "cuda/conv/fprop.cu",
        GEMM_PROBLEM,
        r"read of bytes that a cp.async, issued at .*tile_loader.cuh:\d+, has not delivered: "
        r"a wait_group is missing\n  where   bytes \d+-\d+ of shared memory\n  issued  by thread",
    ),
    "store_past_the_output": (
        POOL,
        "store_global(output + i, rounded<T, V>(best))",
        "store_global(output + i + (i + 1 == count), rounded<T, V>(best))",
        POOL,
        (POOL_PROBLEM, "max_pool_forward"),
        r"store out of the bounds of 'output': element 96, allowed 0 … 95\n  at .*max_pool.cu:\d+",
    ),
    "load_before_the_input": (
        POOL,
        "first = input + p.x.offset",
        "first = input - 1 + p.x.offset",
        POOL,
        (POOL_PROBLEM, "max_pool_forward"),
        r"load out of the bounds of 'input': element -1, allowed 0 … 383",
    ),
    "load_past_the_indices": (
        POOL,
        "(indices + window)",
        "(indices + 1 + window)",
        POOL,
        (POOL_PROBLEM + "_backward", "max_pool_backward"),
        r"load out of the bounds of 'indices': element 96, allowed 0 … 95",
    ),
    "store_to_what_may_only_be_read": (
        "cuda/conv/bias_grad.cu",
        "store_global(grad_bias + channel, T(total))",
        "store_global(const_cast<T*>(grad_output) + channel, T(total))",
        "cuda/conv/bias_grad.cu",
        ("n2c4h6w6k8r3s3 wgrad", "bias_grad"),
        r"store to 'grad_output', which this launch may only read: element \d of 'grad_output'",
    ),
    "load_past_the_workspace": (
        "cuda/conv/split_k_reduce.cu",
        "workspace + first",
        "workspace + elements + first",
        "cuda/conv/split_k_reduce.cu",
        ("n4c8h20w20k8r1s1 wgrad nhwc", "implicit_gemm_simt_64x64x8_vec4"),
        r"load out of the bounds of 'workspace': element \d+, allowed 0 … \d+",
    ),
}


BUGS = [Mutant("report", name, *bug[:4], *bug[4], report=bug[5]) for name, bug in REPORTS.items()]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    return build(BUGS, tmp_path_factory.mktemp("reports"))


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_report(programs, bug):
    healthy = bug.run(cpp_build.build("fast"))
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    sick = bug.run(programs[bug])
    assert sick.returncode == 1, sick.stdout + sick.stderr
    assert re.search(bug.report, sick.stdout), sick.stdout


def test_python_switches_the_race_check():
    torch = pytest.importorskip("torch")
    conv, x = cnnkern.Conv2d(4, 8, 3), torch.randn(2, 4, 8, 8)
    with cnnkern.backend("emulator"):
        expected = conv(x)
        backends.emulator().set_race_check(True)
        try:
            assert torch.equal(conv(x), expected)
        finally:
            backends.emulator().set_race_check(False)
