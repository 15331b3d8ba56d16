"""The machine code's order of commit, wait, barrier and load: planted bugs are found in real SASS.

Each mutant is one textual edit of the production GEMM or of a small kernel, compiled by nvcc for
one architecture.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from nvcc import NVCC, compile_cubin

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
sys.path.insert(0, str(ROOT / "tools"))
import check_sass  # noqa: E402

pytestmark = pytest.mark.skipif(
    NVCC is None or check_sass.find_cuobjdump() is None,
    reason=f"needs nvcc (found: {NVCC}) and cuobjdump (found: {check_sass.find_cuobjdump()})",
)

GEMM = "cuda/conv/implicit_gemm_simt.cuh"
WAIT = "cp_async_wait<stages - 2>();"
BARRIER = "__syncthreads();  // this tile has arrived"
COMMIT = "cp_async_commit();  // an empty group"
STORE = "a.store(shared.stage[0].a), b.store(shared.stage[0].b);\n  __syncthreads();"
NEXT = "b.store(shared.stage[read].b);\n    __syncthreads();"

SMALL = """
struct Params { long long divisor; int rounds; };
__global__ void small(const float* in, float* out, Params p) {
  float sum = 0, kept[32] = {};
  for (int i = 0; i < p.rounds; ++i) {
    sum += in[i];
    kept[i % 32] += in[i + 1];
  }
#pragma unroll
  for (int i = 0; i < 32; ++i) sum += kept[i];
  out[threadIdx.x] = sum;
}
"""
CASES = "".join(f"case {i}: out[{i}] = sum; sum *= in[{i * i}]; break;" for i in range(12))


@dataclass(frozen=True)
class Mutant:
    name: str
    old: str  # must occur exactly once in the GEMM
    new: str
    findings: tuple[str, ...]  # a phrase of each; all that must be found
    arch: str = "80"


MUTANTS = [
    Mutant("healthy_sm75", "", "", (), "75"),
    Mutant("healthy_sm80", "", "", ()),
    Mutant(
        "barrier_deleted",
        BARRIER,
        "//",
        (
            "barrier: DEPBAR.LE at 0x.* reaches LDS.128 at 0x.* without a BAR",
            "barrier: a loop with LDGSTS.* and LDS.128 at .* has no BAR",
            "has 0 BAR for 1 DEPBAR",
        ),
    ),
    Mutant("barrier_twice", BARRIER, "__syncthreads(), __syncthreads();  //", ("2 BAR for 1",)),
    Mutant(
        "barrier_before_the_wait",
        f"{WAIT}\n    {BARRIER}",
        f"__syncthreads();\n    {WAIT}\n    //",
        ("barrier: DEPBAR.LE at 0x.* reaches LDS.128 at 0x.* without a BAR",),
    ),
    Mutant("wait_deleted", WAIT, "", ("wait: LDGSTS.* reaches LDS.128 at .* before any DEPBAR",)),
    Mutant(
        "wait_only_before_the_loop",
        f"for (int tile = 0; tile < tiles; ++tile) {{\n    {WAIT}",
        f"{WAIT}\n  for (int tile = 0; tile < tiles; ++tile) {{",
        ("wait: a loop with LDGSTS.* and LDS.128 at .* has no DEPBAR",),
    ),
    Mutant(
        "wait_for_too_little",
        WAIT,
        "cp_async_wait<stages - 1>();",
        ("leaves 3 groups under way, but the prologue commits 3; with 4 stages that must be 2",),
    ),
    Mutant("wait_for_all", WAIT, "cp_async_wait<0>();", ("leaves 0 groups under way",)),
    Mutant("commit_deleted", COMMIT, "//", ("commit: LDGSTS.* reaches DEPBAR.LE at",)),
    Mutant(
        "first_barrier_deleted",
        STORE,
        STORE.replace("__syncthreads();", ""),
        ("barrier: STS.* reaches LDS.* without a BAR",),
        "75",
    ),
    Mutant(
        "loop_barrier_deleted",
        NEXT,
        NEXT.replace("__syncthreads();", ""),
        (
            "barrier: STS.* reaches LDS.* without a BAR",
            "barrier: a loop with STS.* and LDS.* has no BAR",
        ),
        "75",
    ),
]


def findings_of(cubin: Path) -> list[str]:
    [(_, findings)] = check_sass.check_file(cubin)
    return findings


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_of_the_gemm(mutant, tmp_path):
    """The forward convolution with one kernel in its list, and with the edited GEMM."""
    folder = tmp_path / "cuda" / "conv"
    folder.mkdir(parents=True)
    text = (CSRC / GEMM).read_text()
    if mutant.old:
        assert text.count(mutant.old) == 1, f"{mutant.old!r} is not in {GEMM} exactly once"
        (tmp_path / GEMM).write_text(text.replace(mutant.old, mutant.new))
    (folder / "conv_kernels.inc").write_text("CNNKERN_SIMT_FPROP(nhwc, 4, 64, 64, 8)\n")
    source = Path(shutil.copy(CSRC / "cuda/conv/fprop.cu", folder))
    findings = findings_of(compile_cubin(source, mutant.arch, f"-I{tmp_path}"))
    assert_found(findings, mutant.findings)


def assert_found(findings: list[str], patterns: tuple[str, ...]) -> None:
    """Each finding is expected, and each pattern finds one."""
    for pattern in patterns:
        assert any(re.search(pattern, finding) for finding in findings), (pattern, findings)
    assert len(findings) == len(patterns), findings


@pytest.mark.parametrize(
    ("old", "new", "patterns"),
    [
        ("kept[i % 32] +=", "kept[0] +=", ()),
        ("", "", ("local memory: .* accesses, first STL",)),
        (
            "kept[i % 32] += in[i + 1];",
            "sum += in[i * 1000000007ll / p.divisor];",
            ("division: CALL.* calls a subroutine inside a loop",),
        ),
        (
            "kept[i % 32] += in[i + 1];",
            f"switch (__float_as_int(in[i])) {{ {CASES} }}",
            ("jump table: BRX",),
        ),
    ],
    ids=["healthy", "local_memory", "division", "jump_table"],
)
def test_resources(tmp_path, old, new, patterns):
    source = tmp_path / "small.cu"
    source.write_text(SMALL.replace(old, new) if old else SMALL)
    assert_found(findings_of(compile_cubin(source, "80")), patterns)
