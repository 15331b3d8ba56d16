"""CUTLASS's kernels of our tiles, compiled here and now from the headers of PyPI's nvidia-cutlass.

They are the yardstick of tools/issue_floor.py: convolutions in channels last, with the options that
CUTLASS's own generator gives each tile.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HEADERS = """
#include "cutlass/conv/kernel/default_conv2d_dgrad.h"
#include "cutlass/conv/kernel/default_conv2d_fprop.h"
#include "cutlass/conv/kernel/default_conv2d_wgrad.h"
#include "cutlass/device_kernel.h"
#include "cutlass/epilogue/thread/linear_combination.h"
#include "cutlass/gemm/threadblock/threadblock_swizzle.h"
"""
# A type of its own for each, so that the machine code's names say which is which.
SOURCE = """
struct Kernel{{number}} : cutlass::conv::kernel::DefaultConv2d{direction}<
    {element}, cutlass::layout::TensorNHWC, {element}, cutlass::layout::TensorNHWC,
    {result}, cutlass::layout::TensorNHWC, float, cutlass::arch::{operators}, cutlass::arch::Sm80,
    cutlass::gemm::GemmShape<{tile}>, cutlass::gemm::GemmShape<{warp}>,
    cutlass::gemm::GemmShape<{instruction}>,
    cutlass::epilogue::thread::LinearCombination<{result}, {vector}, float, float>,
    cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<>, {stages},
    cutlass::arch::OpMultiplyAdd,
    cutlass::conv::IteratorAlgorithm::kOptimized{strides}>::Kernel {{{{}}}};
template __global__ void cutlass::Kernel<Kernel{{number}}>(Kernel{{number}}::Params);
"""
NUMBER = re.compile(r"_ZN7cutlass6KernelI\d+Kernel(\d+)E")

# Tile -> what one of CUTLASS's warps takes of it.
WARPS = {
    "Fprop": {
        (256, 128): (64, 64), (128, 256): (64, 64), (128, 128): (64, 64), (128, 64): (64, 32),
        (64, 64): (32, 32), (128, 32): (32, 32), (64, 32): (32, 16),
    },
    "Wgrad": {
        (256, 64): (64, 64), (128, 128): (64, 64), (128, 64): (64, 32), (64, 128): (32, 64),
        (64, 64): (32, 32),
    },
}  # fmt: skip
WARPS["Dgrad"] = WARPS["Fprop"]
# Tiles of ours that round float32 to tf32.
TF32_TILES = {
    "Fprop": [(128, 128), (128, 64), (64, 64)],
    "Dgrad": [(128, 64), (64, 64)],
    "Wgrad": [(128, 128), (128, 64), (64, 64)],
}


@dataclass(frozen=True)
class CutlassKernel:
    """A kernel of theirs and the name that check_kernels.short_name gives ours."""

    ours: str
    arch: str  # "80"
    direction: str
    source: str  # but for its number


def tensor_cores(direction: str, tile: tuple[int, int], tf32: bool = False) -> CutlassKernel:
    """float16 or float32 rounded to tf32, three stages, float sums."""
    wgrad, warp = direction == "Wgrad", WARPS[direction][tile]
    depth, element = (16, "float") if tf32 else (32, "cutlass::half_t")
    source = SOURCE.format(
        direction=direction,
        element=element,
        result="float" if wgrad else element,
        operators="OpClassTensorOp",
        tile=f"{tile[0]}, {tile[1]}, {depth}",
        warp=f"{warp[0]}, {warp[1]}, {depth}",
        instruction=f"16, 8, {depth // 2}",
        vector=4 if tf32 or wgrad or tile == (64, 32) else 8,
        stages=3,
        strides=", cutlass::conv::StrideSupport::kUnity" if direction == "Dgrad" else "",
    )
    planar = ", 2" if wgrad else ""
    ours = "float" if tf32 else "float16"
    name = f"mma_{direction.lower()}<{ours}, {tile[0]}, {tile[1]}, {depth}{planar}>"
    return CutlassKernel(name, "80", direction, source)


def simt(direction: str) -> CutlassKernel:
    """float32 on the ordinary cores, of which sm_86 has as many as tensor cores are worth."""
    source = SOURCE.format(
        direction=direction,
        element="float",
        result="float",
        operators="OpClassSimt",
        tile="128, 128, 8",
        warp="32, 64, 8",
        instruction="1, 1, 1",
        vector=1,
        stages=5,
        strides=", cutlass::conv::StrideSupport::kUnity" if direction == "Dgrad" else "",
    )
    ours = f"gemm_{direction.lower()}<float, (Layout)1, 4, 128, 128, 8>"
    return CutlassKernel(ours, "86", direction, source)


KERNELS = [
    *(tensor_cores(kind, tile) for kind in WARPS for tile in WARPS[kind]),
    *(tensor_cores(kind, tile, tf32=True) for kind in TF32_TILES for tile in TF32_TILES[kind]),
    *(simt(kind) for kind in WARPS),
]
CUBINS = sorted({(kernel.arch, kernel.direction) for kernel in KERNELS})


def compile_all(folder: Path, done: Callable[[], None]) -> list[Path]:
    """Cubins of all kernels in ``folder``, those of an architecture and direction in one, since
    their headers take most of the time; calls ``done`` after each cubin."""
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

    def compile_together(arch: str, direction: str) -> Path:
        source = folder / f"sm{arch}_{direction}.cu"
        kernels = [
            kernel.source.format(number=number)
            for number, kernel in enumerate(KERNELS)
            if (kernel.arch, kernel.direction) == (arch, direction)
        ]
        source.write_text(HEADERS + "".join(kernels))
        cubin = source.with_suffix(".cubin")
        flags = ["-std=c++17", "-O3", "--expt-relaxed-constexpr", f"-arch=sm_{arch}"]
        command = [nvcc, *flags, "-cubin", f"-I{include}", str(source), "-o", str(cubin)]
        subprocess.run(command, check=True, capture_output=True)
        done()
        return cubin

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_together, *zip(*CUBINS)))
