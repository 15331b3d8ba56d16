"""Planted bugs: each is one textual edit of a production source, which some check has to notice.

python tests/mutants.py      prints the table of csrc/emulator/README.md
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
sys.path.insert(0, str(ROOT / "tests" / "cpp"))
import cpp_build  # noqa: E402

CONV = "cuda/conv"
DTYPES = "common/dtype.h"
TABLE = "cuda/conv/conv_kernels.inc"
GEMM = "cuda/conv/implicit_gemm_simt.cuh"
LOADER = "cuda/conv/tile_loader.cuh"
GATHER = "cuda/conv/pixel_gather.cuh"
EPILOGUE = "cuda/conv/epilogue.cuh"
CLASSES = "cuda/conv/stride_class.cuh"
INDEXING = "cuda/indexing.cuh"
FPROP, DGRAD, WGRAD, BIAS_GRAD, REDUCE = (
    f"cuda/conv/{stem}.cu" for stem in ("fprop", "dgrad", "wgrad", "bias_grad", "split_k_reduce")
)
DIRECT, DIRECT_CUH = "cuda/conv/direct.cu", "cuda/conv/direct.cuh"
POOL, AVG_POOL = "cuda/pool/max_pool.cu", "cuda/pool/avg_pool.cu"
GLOBAL_AVG_POOL = "cuda/pool/global_avg_pool.cu"
STRIDED_AXIS, VECTORS = "cuda/pool/strided_axis.cuh", "cuda/pool/channel_vectors.cuh"
UNFOLD, WINDOW_POOL = "cuda/pool/unfold.cu", "cuda/pool/window_pool.cu"


@dataclass(frozen=True)
class Mutant:
    """``old`` occurs once in ``file``; ``source`` is compiled again and run on the problem."""

    kind: str
    name: str
    file: str  # under csrc/
    old: str
    new: str
    source: str  # likewise
    problem: str
    kernel: str
    arch: str = "sm_80"
    report: str = ""  # a pattern that what is printed has to match
    program: str = "run_problems"

    def __str__(self) -> str:
        return self.name

    def write(self, overlay: Path) -> None:
        """Puts the edited file where the compiler looks first."""
        text = (CSRC / self.file).read_text()
        found = text.count(self.old)
        assert found == 1, f"{self.name}: {self.old!r} occurs {found} times in {self.file}"
        edits = {DTYPES: self.dispatch_of_one((CSRC / DTYPES).read_text())}
        edits[self.file] = text.replace(self.old, self.new)
        if self.source != "cuda/conv/conv_launch.cu":  # whose dispatch counts the rows
            table = edits.get(TABLE, (CSRC / TABLE).read_text())
            edits[TABLE] = "".join(filter(self.needs, table.splitlines(keepends=True)))
        for file, edited in edits.items():
            (overlay / file).parent.mkdir(parents=True, exist_ok=True)
            (overlay / file).write_text(edited)

    def needs(self, row: str) -> bool:
        """Whether a line of the table is of the kernel that runs; all others are not compiled."""
        words = re.findall(r"\w+", row) if row.startswith("CNNKERN_") else []
        types = {"float", "double", "float16", "bfloat16"}.intersection(words)
        types |= {"double"} if row.startswith("CNNKERN_F64") else set()
        if words and ("tf32x3" in words) != ("3xtf32" in self.kernel):
            return False
        tile = "x".join(words[-3:]) if all(map(str.isdigit, words[-3:])) else ""
        return tile in self.kernel and (not types or self.type in types)

    def dispatch_of_one(self, text: str) -> str:
        """common/dtype.h, whose dispatch() knows the type of the problem alone."""
        types = "float|double|float16|bfloat16"
        case = re.compile(rf"    case DType::\w+: return body\(({types})\{{\}}\);\n")
        assert len(case.findall(text)) == 4
        return case.sub(lambda found: found[0] if found[1] == self.type else "", text)

    @property
    def type(self) -> str:
        """The problem's, as C++ calls it."""
        types = {"f64": "double", "f16": "float16", "bf16": "bfloat16"}
        return next((types[word] for word in self.problem.split() if word in types), "float")

    def run(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """The mutated program, or in the variant's own folder the healthy one."""
        arguments = ["--arch", self.arch, "--kernel", self.kernel]
        if self.program == "run_problems":
            arguments += ["--exactly", "--races", "--seeds", "2", "--problem"]
        return run_once(folder / self.program, *arguments, self.problem)


@functools.cache
def run_once(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Many bugs are planted in one kernel, whose healthy program has to run but once."""
    return subprocess.run(command, capture_output=True, text=True)


def build(mutants: Sequence[Mutant], folder: Path) -> dict[Mutant, Path]:
    """Compiles all mutants at a time; the folder of each one's program."""
    overlays = {}
    for mutant in mutants:
        overlay = folder / mutant.name
        mutant.write(overlay)
        arch = int(mutant.arch.removeprefix("sm_"))
        overlays[mutant] = cpp_build.Overlay(overlay, (mutant.source,), arch, mutant.program)
    cpp_build.build("fast", list(overlays.values()))
    return {mutant: overlay.folder for mutant, overlay in overlays.items()}


def of(kind: str, source: str, problem: str, kernel: str, *edits: tuple, **more) -> list[Mutant]:
    """Mutants that differ in (name, file, old, new) and perhaps the report."""
    return [
        Mutant(kind, name, file, old, new, source, problem, kernel, report="".join(rest), **more)
        for name, file, old, new, *rest in edits
    ]


SIMT, SIMT_VEC4 = "implicit_gemm_simt_64x64x8", "implicit_gemm_simt_64x64x8_vec4"
RAGGED = "n1c8h9w8k67r3s3p1 nhwc"  # several K tiles, tails in rows and columns
UNEVEN = "n2c5h9w7k9r3s2pt1pb2pl2pr1 nchw"  # axes and sides differ
