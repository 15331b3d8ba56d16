"""Writes the table of docs/ladder.md from what is counted, or checks that it agrees.

    python tools/update_ladder.py             counts, and writes the table
    python tools/update_ladder.py --check     exit with 1 and a sentence if the docs are out of date

Bytes and shared-memory wavefronts are counted by the emulator on one layer; registers and the inner
loop are read off the build's sm_80 machine code, as check_sass.py reads it.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_kernels import demangle
from check_sass import Kernel, check_file
from marked_section import update_page

from cnnkern import explain
from cnnkern._profile import Profile, profile
from cnnkern.problems import Problem

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/ladder.md"
START, END = "<!-- ladder:start -->", "<!-- ladder:end -->"
DEVICE, LAYER = "sm_80", "n16c128h28w28k128r3s3p1 {dtype} nhwc fprop"
RUNGS = {  # kernel: dtype
    "ladder_1_direct": "f32",
    "ladder_2_shared_memory": "f32",
    "ladder_3_registers": "f32",
    "ladder_4_vectors": "f32",
    "ladder_5_async_copies": "f32",
    "ladder_6_tensor_cores": "f16",
}
HEAD = (
    "| rung | input and weights read | times the least | loads of shared memory | "
    "registers | inner loop | of it FFMA or HMMA |",
    "|---|---|---|---|---|---|---|",
)


def inner_loop(kernel: Kernel) -> tuple[int, int]:
    """Instructions, and FFMA or HMMA among them, of the innermost loop that multiplies most."""
    loops = {frozenset(kernel.loop_of(i)) for i in kernel.all("FFMA", "HMMA")} - {frozenset()}
    products = set(kernel.all("FFMA", "HMMA"))
    hot = max(loops, key=lambda loop: (len(loop & products), -len(loop)))
    return len(hot), len(hot & products)


def counted(text: str, kernel: str) -> tuple[float, float, float]:
    """MiB read by all blocks, that over the least, and bytes of shared memory a multiply-add."""
    problem = Problem.parse(text)
    found: Profile = profile(problem, DEVICE, kernel)
    (launch,) = found.launches
    read = launch.traffic(store=False)
    shared = sum(s.bytes for s in launch.sites if s.kind in ("shared load", "ldmatrix"))
    all_sums = math.prod(problem.output_shape) * math.prod(problem.weight_shape[1:])
    sums = all_sums * launch.blocks_run / launch.blocks
    return read / 2**20, read / found.least_read, shared / sums


def row(kernel: str, dtype: str, code: dict[str, Kernel]) -> str:
    text = LAYER.format(dtype=dtype)
    read, times, shared = counted(text, kernel)
    loop, products = inner_loop(code[kernel])
    registers = explain(text, device=DEVICE, kernel=kernel).registers
    name = kernel.removeprefix("ladder_").replace("_", " ", 1).replace("_", " ")
    kept = f"{shared:.2f} bytes a multiply-add" if shared else "none"
    return (
        f"| {name} | {read:,.0f} MiB | {times:,.0f} | {kept} | {registers} | "
        f"{loop} instructions | {products / loop:.0%} |"
    )


def table() -> str:
    objects = sorted((ROOT / "build/ninja/cuda").glob("*conv_ladder_*.o"))
    if not objects:
        raise FileNotFoundError("build/ninja/cuda has no ladder objects; run make build with nvcc")
    kernels = [kernel for path in objects for kernel, _ in check_file(path)]
    names = demangle([kernel.mangled for kernel in kernels])
    found = (re.search(r"ladder_\d_\w+", name) for name in names)
    code = {m[0]: k for m, k in zip(found, kernels) if m and k.arch == DEVICE[3:]}
    return "\n".join([*HEAD, *(row(kernel, dtype, code) for kernel, dtype in RUNGS.items())])


if __name__ == "__main__":
    sys.exit(update_page(PAGE, START, END, table, Path(__file__).name))
