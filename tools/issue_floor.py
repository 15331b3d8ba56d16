"""Counts the main loop of every kernel that multiplies, from its machine code (SASS).

    python tools/issue_floor.py build/ninja/cuda     # a folder with objects, or objects and cubins
    python tools/issue_floor.py --against-cutlass build/ninja/cuda

The compiler writes into each instruction how many cycles the warp then waits at least (bits 41-44
of the upper word). Their sum over the loop, for each HMMA or FFMA in it, is the issue floor: no
warp can be faster, whatever the memory does. Blocks that the compiler moved out of line count.
`distance` is the smallest number of HMMA between an LDSM and the first HMMA that reads it.

With --against-cutlass the kernels of sm_80 and sm_86 are held against CUTLASS's of the same tiles
(tools/cutlass_kernels.py): the floor may be 2 % above theirs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from check_kernels import demangle, short_name
from check_sass import Kernel, find_cuobjdump, parse_sass, reached
from cutlass_kernels import CUBINS, KERNELS, NUMBER, compile_all

from cnnkern.progress import progress_bar

MATH = ("HMMA", "DMMA", "DFMA", "FFMA")
REGISTER = re.compile(r"\bR(\d+)")
MARGIN = 1.02


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
    """None if nothing that multiplies lies in a loop. FFMA beside HMMA is no math, it rounds."""
    kinds = {one.kind for one in kernel.code}
    math = next((kind for kind in MATH if kind in kinds), None)
    bodies = []
    for i, branch in enumerate(kernel.code):
        if branch.kind == "BRA" and branch.target is not None and branch.target <= branch.address:
            first = kernel.at(branch.target)
            count = sum(one.kind == math for one in kernel.code[first : i + 1])
            inside = reached(kernel.predecessors, [i], first.__eq__)  # but not a loop around it
            bodies.append((count, first - i, inside))
    most, _, loop = max(bodies, key=lambda body: body[:2], default=(0, 0, set()))
    if math is None or most == 0:
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


def loops_of(files: Sequence[Path], archs: Sequence[str] = ()) -> list[tuple[str, str, Loop]]:
    """(mangled name, architecture, main loop) of each kernel in objects and cubins that has one.

    ``archs`` leaves out other architectures.
    """
    tool = find_cuobjdump()
    if tool is None:
        raise FileNotFoundError("cuobjdump is not on PATH, in CUDA_HOME or in triton")

    def kernels_of(path: Path, arch: str | None) -> list[Kernel]:
        only = ["-arch", f"sm_{arch}"] if arch else []
        dumped = subprocess.run([tool, "-sass", *only, str(path)], capture_output=True, text=True)
        return parse_sass(dumped.stdout)

    jobs = [(file, arch) for file in files for arch in archs or (None,)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        kernels = [kernel for found in pool.map(kernels_of, *zip(*jobs)) for kernel in found]
    return [
        (kernel.mangled, kernel.arch, loop)
        for kernel in sorted(kernels, key=lambda kernel: (kernel.mangled, kernel.arch))
        if (loop := main_loop(kernel)) is not None
    ]


def cutlass_loops() -> dict[tuple[str, str], Loop]:
    """CUTLASS's main loops by architecture and our kernel's name."""
    with tempfile.TemporaryDirectory() as folder, progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("CUTLASS", total=len(CUBINS))
        cubins = compile_all(Path(folder), lambda: bar.advance(task))
        return {
            (arch, KERNELS[int(number[1])].ours): loop
            for mangled, arch, loop in loops_of(cubins)
            if (number := NUMBER.match(mangled))
        }


def main(arguments: list[str]) -> int:
    """Prints a line a kernel; 1 if one is slower than CUTLASS's, 2 if there is nothing to read."""
    against = "--against-cutlass" in arguments
    given = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if not given:
        print(__doc__, file=sys.stderr)
        return 2
    files = [f for path in given for f in (sorted(path.rglob("*.o")) if path.is_dir() else [path])]
    theirs = cutlass_loops() if against else {}
    found_loops = loops_of(files, sorted({arch for arch, _ in theirs}))
    names = demangle([mangled for mangled, _, _ in found_loops])
    slower = judged = 0
    for (_, arch, loop), name in zip(found_loops, map(short_name, names)):
        print(f"sm_{arch} {name}: {loop}")
        if other := theirs.get((arch, name)):
            judged += 1
            slower += loop.floor > MARGIN * other.floor
            verdict = "SLOWER" if loop.floor > MARGIN * other.floor else "no slower"
            print(f"  CUTLASS: {other}; ours is {verdict}")
    return 1 if slower else 2 if not found_loops or judged < len(theirs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
