"""Counts the main loop of every kernel that multiplies, from its machine code (SASS).

    python tools/issue_floor.py build/ninja/cuda     # a folder with objects, or objects and cubins
    python tools/issue_floor.py --against-cutlass build/ninja/cuda

The compiler writes into each instruction how many cycles the warp then waits at least (bits 41-44
of the upper word). Their sum over the loop, for each HMMA or FFMA in it, is the issue floor: no
warp can be faster, whatever the memory does. Blocks that the compiler moved out of line count.
`distance` is the smallest number of HMMA between an LDSM and the first HMMA that reads it.

With --against-cutlass the tensor-core weight gradients of sm_80 are held against CUTLASS's kernels
of the same tiles, compiled here and now from the headers of PyPI's nvidia-cutlass: the floor may be
2 % above theirs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from check_kernels import demangle, short_name
from check_sass import Kernel, find_cuobjdump, parse_sass, reached

MATH = ("HMMA", "DMMA", "DFMA", "FFMA")
REGISTER = re.compile(r"\bR(\d+)")
MARGIN = 1.02
OURS = re.compile(r"mma_wgrad<float16, (\d+), (\d+), 32, 2>")
CUTLASS = """
#include "cutlass/conv/kernel/default_conv2d_wgrad.h"
#include "cutlass/device_kernel.h"
#include "cutlass/epilogue/thread/linear_combination.h"
#include "cutlass/gemm/threadblock/threadblock_swizzle.h"
template <int m, int n, int warp_m, int warp_n>
using Wgrad = typename cutlass::conv::kernel::DefaultConv2dWgrad<
    cutlass::half_t, cutlass::layout::TensorNHWC, cutlass::half_t, cutlass::layout::TensorNHWC,
    float, cutlass::layout::TensorNHWC, float, cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80,
    cutlass::gemm::GemmShape<m, n, 32>, cutlass::gemm::GemmShape<warp_m, warp_n, 32>,
    cutlass::gemm::GemmShape<16, 8, 16>,
    cutlass::epilogue::thread::LinearCombination<float, 4, float, float>,
    cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<>, 3, cutlass::arch::OpMultiplyAdd,
    cutlass::conv::IteratorAlgorithm::kOptimized>::Kernel;
"""
INSTANCE = """
template __global__ void cutlass::Kernel<Wgrad<{0}, {1}, {2}, {3}>>(
    typename Wgrad<{0}, {1}, {2}, {3}>::Params);
"""
# Four warps each, as CUTLASS's generator has them.
CUTLASS_WARPS = {
    (256, 64): (64, 64),
    (128, 128): (64, 64),
    (128, 64): (64, 32),
    (64, 128): (32, 64),
    (64, 64): (32, 32),
}


@dataclass(frozen=True)
class Loop:
    """The innermost loop around the most math of a kernel."""

    instructions: int
    math: str  # "HMMA"
    math_count: int
    floor: float  # cycles a math instruction
    distance: int | None
    barriers: int

    def __str__(self) -> str:
        away = "" if self.distance is None else f", LDSM {self.distance} HMMA before its use"
        return (
            f"{self.instructions} instructions, {self.math_count} {self.math}, "
            f"floor {self.floor:.2f}{away}, {self.barriers} BAR"
        )


def main_loop(kernel: Kernel) -> Loop | None:
    """None if nothing that multiplies lies in a loop."""
    bodies = []
    for i, branch in enumerate(kernel.code):
        if branch.kind == "BRA" and branch.target is not None and branch.target <= branch.address:
            first = kernel.at(branch.target)
            counts = Counter(one.kind for one in kernel.code[first : i + 1])
            inside = reached(kernel.predecessors, [i], first.__eq__)  # but not a loop around it
            bodies.append(([counts[kind] for kind in MATH], first - i, inside))
    most, _, loop = max(bodies, key=lambda body: body[:2], default=([0], 0, set()))
    math = next((kind for kind, count in zip(MATH, most) if count), None)
    if math is None:
        return None
    code = [kernel.code[i] for i in sorted(loop)]
    kinds = Counter(one.kind for one in code)
    floor = sum(one.stall for one in code) / kinds[math]
    return Loop(len(code), math, kinds[math], floor, distance(kernel, loop), kinds["BAR"])


def distance(kernel: Kernel, loop: set[int]) -> int | None:
    """The fewest HMMA between an LDSM and the first that reads what it loads."""
    body = [kernel.code[i] for i in sorted(loop)]
    found = []
    for i, load in enumerate(body):
        if load.kind != "LDSM":
            continue
        count = int(load.opcode[-1]) if load.opcode[-1].isdigit() else 1
        first, *_ = registers(load.operands)
        loaded, passed = set(range(first, first + count)), 0
        for one in body[i + 1 :] + body[: i + 1]:
            if one.kind == "HMMA":
                _, a, b, *_ = registers(one.operands)
                if loaded & {a, a + 1, a + 2, a + 3, b, b + 1}:
                    found.append(passed)
                    break
                passed += 1
    return min(found, default=None)


def registers(operands: str) -> list[int]:
    return [int(register) for register in REGISTER.findall(operands)]


def loops_of(files: Sequence[Path]) -> list[tuple[str, str, Loop]]:
    """(mangled name, architecture, main loop) of each kernel in objects and cubins that has one."""
    tool = find_cuobjdump()
    if tool is None:
        raise FileNotFoundError("cuobjdump is not on PATH, in CUDA_HOME or in triton")

    def kernels_of(path: Path) -> list[Kernel]:
        dumped = subprocess.run([tool, "-sass", str(path)], capture_output=True, text=True)
        return parse_sass(dumped.stdout)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        kernels = [kernel for found in pool.map(kernels_of, files) for kernel in found]
    return [
        (kernel.mangled, kernel.arch, loop)
        for kernel in sorted(kernels, key=lambda kernel: (kernel.mangled, kernel.arch))
        if (loop := main_loop(kernel)) is not None
    ]


def cutlass_loops() -> dict[tuple[int, int], Loop]:
    """CUTLASS's weight gradients by tile, for sm_80."""
    package = find_spec("cutlass_library")
    folders = [
        os.environ.get("PATH", ""),
        f"{os.environ.get('CUDA_HOME', '')}/bin",
        f"{sysconfig.get_path('purelib')}/nvidia/cu13/bin",
    ]
    nvcc = shutil.which("nvcc", path=os.pathsep.join(folders))
    if package is None or not package.submodule_search_locations or nvcc is None:
        raise FileNotFoundError("needs nvcc, and CUTLASS's headers: pip install nvidia-cutlass")
    include = Path(package.submodule_search_locations[0]) / "source/include"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cutlass.cu"
        tiles = [INSTANCE.format(*tile, *warp) for tile, warp in CUTLASS_WARPS.items()]
        source.write_text(CUTLASS + "".join(tiles))
        cubin = source.with_suffix(".cubin")
        flags = ["-std=c++17", "-O3", "--expt-relaxed-constexpr", "-arch=sm_80", "-cubin"]
        command = [nvcc, *flags, f"-I{include}", str(source), "-o", str(cubin)]
        subprocess.run(command, check=True, capture_output=True)
        shape = re.compile(r"GemmShapeILi(\d+)ELi(\d+)ELi32E")
        return {
            (int(found[1]), int(found[2])): loop
            for mangled, _, loop in loops_of([cubin])  # too long for demanglers
            if (found := shape.search(mangled))
        }


def main(arguments: list[str]) -> int:
    """Prints a line a kernel; 1 if one is slower than CUTLASS's, 2 if there is nothing to read."""
    against = "--against-cutlass" in arguments
    given = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if not given:
        print(__doc__, file=sys.stderr)
        return 2
    files = [f for path in given for f in (sorted(path.rglob("*.o")) if path.is_dir() else [path])]
    found_loops = loops_of(files)
    names = demangle([mangled for mangled, _, _ in found_loops])
    rows = [(short_name(name), arch, loop) for name, (_, arch, loop) in zip(names, found_loops)]
    theirs = cutlass_loops() if against else {}
    slower = judged = 0
    for name, arch, loop in rows:
        print(f"sm_{arch} {name}: {loop}")
        found = OURS.search(name)
        if found and arch == "80" and (other := theirs.get((int(found[1]), int(found[2])))):
            judged += 1
            slower += loop.floor > MARGIN * other.floor
            verdict = "SLOWER" if loop.floor > MARGIN * other.floor else "no slower"
            print(f"  CUTLASS: {other}; ours is {verdict}")
    return 1 if slower else 2 if not rows or (against and not judged) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
