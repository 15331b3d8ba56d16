"""Counts the main loop of every kernel that multiplies, from its machine code (SASS).

    python tools/issue_floor.py build/ninja/cuda     # a folder with objects, or objects and cubins

The compiler writes into each instruction how many cycles the warp then waits at least (bits 41-44
of the upper word). Their sum over the loop, for each HMMA or FFMA in it, is the issue floor: no
warp can be faster, whatever the memory does. It counts blocks that the compiler moved out of line.
`distance` is the smallest number of HMMA between an LDSM and the first HMMA that reads it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from check_kernels import demangle, short_name
from check_sass import Kernel, find_cuobjdump, parse_sass

MATH = ("HMMA", "DMMA", "FFMA", "DFMA")
REGISTER = re.compile(r"\bR(\d+)")


@dataclass(frozen=True)
class Loop:
    """The innermost loop around the most math of a kernel."""

    instructions: int
    math: str  # "HMMA"
    math_count: int
    floor: float  # cycles a math instruction
    distance: int | None
    barriers: int
    kinds: dict[str, int]


def main_loop(kernel: Kernel) -> Loop | None:
    """None if nothing that multiplies lies in a loop."""
    bodies = []
    for i, branch in enumerate(kernel.code):
        if branch.target is not None and branch.target <= branch.address and branch.kind == "BRA":
            first = kernel.at(branch.target)
            counts = Counter(one.kind for one in kernel.code[first : i + 1])
            bodies.append(([counts[kind] for kind in MATH], first - i, kernel.loop_of(i)))
    most, _, loop = max(bodies, key=lambda body: body[:2], default=([0], 0, set()))
    math = next((kind for kind, count in zip(MATH, most) if count), None)
    if math is None:
        return None
    body = sorted(loop)
    code = [kernel.code[i] for i in body]
    kinds = Counter(one.kind for one in code)
    return Loop(
        len(code),
        math,
        kinds[math],
        sum(one.stall for one in code) / kinds[math],
        distance(kernel, body),
        kinds["BAR"],
        dict(kinds),
    )


def distance(kernel: Kernel, body: list[int]) -> int | None:
    """The fewest HMMA between an LDSM and the first that reads what it loads."""
    twice, found = [kernel.code[i] for i in body] * 2, []
    for i, load in enumerate(twice[: len(body)]):
        if load.kind != "LDSM":
            continue
        count = int(load.opcode[-1]) if load.opcode[-1].isdigit() else 1
        first = int(REGISTER.search(load.operands)[1])  # type: ignore[index]
        loaded, passed = set(range(first, first + count)), 0
        for one in twice[i + 1 : i + len(body)]:
            if one.kind == "HMMA":
                if loaded & sources(one.operands):
                    found.append(passed)
                    break
                passed += 1
    return min(found, default=None)


def sources(operands: str) -> set[int]:
    """The first registers of A and B, and those that follow: four and two at most."""
    _, a, b, *_ = (int(r) for r in REGISTER.findall(operands)) if operands else (0, 0, 0)
    return {a, a + 1, a + 2, a + 3, b, b + 1}


def kernels_of(path: Path) -> list[Kernel]:
    tool = find_cuobjdump()
    if tool is None:
        raise FileNotFoundError("cuobjdump is not on PATH, in CUDA_HOME or in triton")
    dumped = subprocess.run([tool, "-sass", str(path)], capture_output=True, text=True)
    return parse_sass(dumped.stdout)


def main(arguments: list[str]) -> int:
    """Prints a line a kernel; 2 if there is nothing to read."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    given = [Path(argument) for argument in arguments]
    files = [f for path in given for f in (sorted(path.rglob("*.o")) if path.is_dir() else [path])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        kernels = [kernel for found in pool.map(kernels_of, files) for kernel in found]
    names = demangle([kernel.mangled for kernel in kernels])
    for name, kernel in sorted(zip(names, kernels), key=lambda pair: (pair[0], pair[1].arch)):
        if loop := main_loop(kernel):
            print(
                f"sm_{kernel.arch} {short_name(name)}: {loop.instructions} instructions, "
                f"{loop.math_count} {loop.math}, floor {loop.floor:.2f}, "
                f"distance {loop.distance}, {loop.barriers} BAR"
            )
            if os.environ.get("KINDS"): print(loop.kinds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
