"""Planted bugs: the emulator is believed because it catches them.

Each mutant is one textual edit of a production kernel, compiled for one architecture path and run
on one problem; some seed has to go red. The same problem is green on the kernel as it is.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

CPP = Path(__file__).parent / "cpp"
CSRC = Path(__file__).parents[1] / "csrc"
sys.path.insert(0, str(CPP))
import build as cpp_build  # noqa: E402

SEEDS = 3


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str  # under csrc/
    old: str  # must occur exactly once
    new: str
    sources: tuple[str, ...]  # what is compiled again
    problem: str
    kernel: str
    arch: str = "sm_80"

    def write(self, overlay: Path) -> None:
        """Puts the edited file where the compiler looks first."""
        text = (CSRC / self.file).read_text()
        found = text.count(self.old)
        assert found == 1, f"{self.name}: {self.old!r} occurs {found} times in {self.file}"
        target = overlay / self.file
        target.parent.mkdir(parents=True)
        target.write_text(text.replace(self.old, self.new))


GEMM = "cuda/conv/implicit_gemm_simt.cuh"
FPROP = ("cuda/conv/fprop.cu",)
MUTANTS = [
    Mutant(
        "barrier_deleted",
        GEMM,
        "__syncthreads();  // this tile has arrived",
        "// this tile has arrived",
        FPROP,
        "n1c8h9w8k67r3s3p1 nhwc",
        "implicit_gemm_simt_64x64x8_vec4",
    ),
    Mutant(
        "wait_deleted",
        GEMM,
        "cp_async_wait<stages - 2>();",
        "",
        FPROP,
        "n1c8h9w8k67r3s3p1 nhwc",
        "implicit_gemm_simt_64x64x8_vec4",
    ),
    Mutant(
        "index_shifted",
        "cuda/conv/tile_loader.cuh",
        "operand_.depth(k_ + j * step)",
        "operand_.depth(k_ + 1 + j * step)",
        FPROP,
        "n2c4h6w6k8r3s3 nchw",
        "implicit_gemm_simt_64x64x8",
    ),
    Mutant(
        "reduction_barrier_deleted",
        "cuda/conv/bias_grad.cu",
        "__syncthreads();",
        "",
        ("cuda/conv/bias_grad.cu",),
        "n2c4h17w17k3r1 wgrad",
        "bias_grad",
    ),
]


def run(program: Path, mutant: Mutant) -> subprocess.CompletedProcess[str]:
    arguments = ["--exactly", "--seeds", str(SEEDS), "--problem", mutant.problem]
    arguments += ["--kernel", mutant.kernel, "--arch", mutant.arch]
    return subprocess.run([program, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant, tmp_path):
    healthy = run(cpp_build.build("fast") / "run_problems", mutant)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    mutant.write(tmp_path)
    sick = run(
        cpp_build.build("fast", overlay=tmp_path, mutated=mutant.sources) / "run_problems", mutant
    )
    assert sick.returncode == 1, f"nobody noticed:\n{sick.stdout}{sick.stderr}"
    assert "FAILED run_problems --exactly" in sick.stdout, sick.stdout
