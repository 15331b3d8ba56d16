"""Writes the tables of docs/kernels.md from the plans, or checks that they agree.

    python tools/update_roofline.py             models, and writes the tables
    python tools/update_roofline.py --check     exit with 1 and a sentence if they are out of date

Nothing here was timed. From a plan follow exactly how many products the blocks issue, padding of
the tiles included, how many bytes of the operands they ask for, and how full the last wave of
blocks is. Peak rates are those of the makers' data sheets.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marked_section import update_page

from cnnkern import _C, problems
from cnnkern.problems import Problem

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/kernels.md"
START, END = "<!-- roofline:start -->", "<!-- roofline:end -->"
DIRECTIONS = ("fprop", "dgrad", "wgrad")
IMAGES = 64


@dataclass(frozen=True)
class Gpu:
    """float16 with float32 sums on the tensor cores, dense; memory."""

    name: str  # "sm_80"
    teraflops: float
    gigabytes: float  # a second


# NVIDIA's data sheets: T4, A100 40 GB, GeForce RTX 4090, H100 SXM, B200.
GPUS = (
    Gpu("sm_75", 65, 320),
    Gpu("sm_80", 312, 1555),
    Gpu("sm_89", 165, 1008),
    Gpu("sm_90", 989, 3350),
    Gpu("sm_100", 2250, 8000),
)


@dataclass(frozen=True)
class Layer:
    """A layer in one direction, as the plan of a GPU runs it."""

    plan: dict[str, object]
    useful: float  # multiply-adds without padding
    issued: float  # multiply-adds of all tiles
    read: float  # bytes of both operands that all blocks ask for
    written: float  # bytes of the result and of its parts, and those that are read again
    least: float  # bytes of operands and result, each once
    filled: float  # share of the places of all waves that have a block

    def share(self, gpu: Gpu) -> float:
        """Of the roofline's rate: what padding and the last wave leave of the peak, or memory."""
        math_time = 2 * self.useful / (gpu.teraflops * 1e12)
        memory_time = self.least / (gpu.gigabytes * 1e9)
        return max(math_time, memory_time) / max(math_time / self.efficiency, memory_time)

    @property
    def efficiency(self) -> float:
        return self.useful / self.issued * self.filled


def layer(text: str, gpu: Gpu) -> Layer | None:
    """None if the kernel has no tiles."""
    plan = _C.plan(text, gpu.name, "")
    m, n, k = plan["tile"]
    if not m:
        return None
    p = Problem.parse(text)
    size = 2
    taps, pixels = math.prod(p.kernel), p.n * math.prod(p.output_shape[2:])
    channels, filters = p.c // p.groups, p.k // p.groups
    gapless = str(plan["kernel"]).startswith("first_layer")  # taps and channels without padding
    depth = {
        "fprop": math.ceil(taps * channels / k) if gapless else taps * math.ceil(channels / k),
        "dgrad": taps * math.ceil(filters / k),  # of all stride classes together
        "wgrad": math.ceil(pixels / k),  # of all parts together
    }[p.direction]
    tiles, second, groups = plan["grid"]
    reads = tiles * groups * depth
    input_, weight, output = (math.prod(s) for s in (p.input_shape, p.weight_shape, p.output_shape))
    result = {"fprop": output, "dgrad": input_, "wgrad": weight}[p.direction]
    partials = 2 * 4 * weight * plan["split_k"] if plan["split_k"] > 1 else 0
    places, blocks = plan["multiprocessors"], tiles * second * groups
    return Layer(
        plan,
        useful=output * channels * taps,
        issued=reads * m * n * k,
        read=reads * (m + n) * k * size,
        written=result * size + partials,
        least=size * (input_ + weight + output),
        filled=blocks / (math.ceil(blocks / places) * places),
    )


def layers() -> Iterator[tuple[str, str]]:
    """ResNet-50's convolutions: name and problem."""
    seen = set()
    for line in problems.read(ROOT / "benchmarks/problems/resnet50.txt"):
        if Problem.parse(line).is_pool:
            continue
        words = [word for word in line.split() if word not in DIRECTIONS and word[0] != "x"]
        name, text = words[0], re.sub(r"^n\d+", f"n{IMAGES}", words[1])
        if text not in seen:
            seen.add(text)
            yield name, text


def cell(text: str, direction: str, gpu: Gpu) -> str:
    found = layer(f"{text} f16 nhwc {direction}", gpu)
    if found is None:
        return "no tile | | | |"
    m, n, _ = found.plan["tile"]
    split = f" / {found.plan['split_k']}" if found.plan["split_k"] > 1 else ""
    times = (found.read + found.written) / found.least
    return f"{m}×{n}{split} | {found.efficiency:.0%} | {times:.1f} | {found.share(gpu):.0%} |"


def table(gpu: Gpu) -> str:
    product = dict(_C.devices())[gpu.name]
    head = " ".join(f"{direction} | products | bytes | roofline |" for direction in DIRECTIONS)
    rows = [
        f"| {name.removeprefix('resnet50.')} | "
        + " ".join(cell(text, direction, gpu) for direction in DIRECTIONS)
        for name, text in layers()
    ]
    title = (
        f"\n\n### {product} ({gpu.name}), *modelled*: {gpu.teraflops:g} TFLOP/s, "
        f"{gpu.gigabytes:,g} GB/s\n"
    )
    return "\n".join([title, f"| layer | {head}", "|---|" + "---|" * 12, *rows])


def tables() -> str:
    return "".join(table(gpu) for gpu in GPUS)


if __name__ == "__main__":
    sys.exit(update_page(PAGE, START, END, tables, Path(__file__).name))
