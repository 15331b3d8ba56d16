"""What a profiler would show of a problem's CUDA kernels, counted in the emulator.

A few blocks of each launch run; the counts need no GPU and are no times.
"""

from __future__ import annotations

import io
import linecache
import math
import re
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from cnnkern import backends, problems, testing
from cnnkern.problems import Problem

SAMPLED_BLOCKS = 4
_SECTOR = 32  # bytes
_CSRC = Path(__file__).resolve().parents[1] / "csrc"


@dataclass(frozen=True)
class Site:
    """The requests of the warps at one access of a kernel; see csrc/emulator/profile.h.

    ``file`` is under csrc/; ``instance`` tells accesses apart that templates make of one line.
    ``lanes``, ``bytes`` (asked for by lanes), ``sectors`` (of 32 bytes) and ``wavefronts`` are
    summed over the requests. ``efficiency`` is the part of the sectors that was asked for;
    ``conflicts`` are the wavefronts that bank conflicts add.
    """

    file: str
    line: int
    instance: str
    source: str
    kind: str
    access_bytes: int
    requests: int
    lanes: int
    bytes: int
    sectors: int
    ideal_sectors: int
    efficiency: float
    wavefronts: int
    conflicts: int
    max_ways: int

    @property
    def is_global(self) -> bool:
        """Whether sectors are counted; else wavefronts are."""
        return self.sectors > 0


@dataclass(frozen=True)
class Launch:
    """One launch; the counts are those of the ``blocks_run`` of its ``blocks`` that ran."""

    kernel: str
    blocks: int
    blocks_run: int
    barriers: int
    instructions: dict[str, int]
    sites: list[Site]

    def traffic(self, store: bool) -> float:
        """Bytes of all sectors read or stored, scaled from the blocks that ran to all."""
        sectors = sum(s.sectors for s in self.sites if (s.kind == "global store") == store)
        return sectors * _SECTOR * self.blocks / self.blocks_run


@dataclass(frozen=True)
class Profile:
    """The launches of a problem; ``least_read`` and ``least_stored`` take each tensor once."""

    launches: list[Launch]
    least_read: int
    least_stored: int

    def __str__(self) -> str:
        if not self.launches:
            return "no kernel is launched: the result is empty"
        # A narrower terminal breaks lines; rich would drop columns instead.
        console = Console(file=io.StringIO(), width=max(Console().width, 128), force_terminal=False)
        for launch in self.launches:
            console.print(_table(launch))
            console.print(escape(_sources(launch)), highlight=False, soft_wrap=True)
            console.print(_instructions(launch) + "\n", highlight=False)
        console.print(self._traffic(), highlight=False)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _traffic(self) -> str:
        whole = all(launch.blocks_run == launch.blocks for launch in self.launches)
        scaled = "" if whole else ", scaled from those that ran"
        lines = [f"global memory, in sectors of 32 bytes, by all blocks{scaled}:"]
        for store, least in enumerate((self.least_read, self.least_stored)):
            total = sum(launch.traffic(bool(store)) for launch in self.launches)
            lines.append(
                f"  {'stored' if store else 'read':<6} {_size(total)}, "
                f"{total / max(least, 1):.2f} times the least: {_size(least)}, each tensor once"
            )
        return "\n".join(lines)


def profile(problem: Problem, device: str, kernel: str = "") -> Profile:
    """Runs a few blocks of each of the problem's launches and counts.

    Args:
        problem: any direction of a convolution or pooling.
        device: the GPU that the emulator stands for, such as ``"sm_80"``.
        kernel: asks for this kernel instead of the planned one.
    """
    tensors = _tensors(problem)
    with backends.backend("emulator", device), testing.force_kernel(problem.operation, kernel):
        emulator = backends.emulator()
        emulator.sample_blocks(SAMPLED_BLOCKS)
        emulator.start_profile()
        try:
            results = problems.run(problem, torch.ops.cnnkern_emulator, *tensors)
        finally:
            emulator.sample_blocks(0)
            launches = emulator.take_profile()
    stored = results if isinstance(results, tuple) else (results,)
    return Profile(
        [_launch(row) for row in launches],
        least_read=sum(tensor.nbytes for tensor in tensors),
        least_stored=sum(tensor.nbytes for tensor in stored),
    )


def _tensors(problem: Problem) -> list[Tensor]:
    """The operands of problems.run()."""

    def zeros(shape: tuple[int, ...]) -> Tensor:
        return problem.tensor(torch.zeros(shape, dtype=problem.dtype))

    of_a_plane = (problem.n, problem.c, len(problem.input))
    samples = [torch.zeros(of_a_plane, dtype=problem.dtype)] if problem.fractional else []
    if problem.operation in ("max_pool", "window_pool") and problem.direction != "forward":
        # Which gradients are read depends on the maxima, so these must lie anywhere.
        generator = torch.Generator().manual_seed(0)
        values = problem.tensor(torch.rand(problem.input_shape, generator=generator))
        forward = replace(problem, direction="forward")
        return [*problems.run(forward, torch.ops.cnnkern, values, *samples), *samples]
    shapes = {
        "fprop": (problem.input_shape, problem.weight_shape),
        "dgrad": (problem.output_shape, problem.weight_shape),
        "wgrad": (problem.output_shape, problem.input_shape),
        "forward": (problem.input_shape,),
        "backward": (problem.output_shape,),
        "unfold": (problem.input_shape,),
        "fold": (problem.output_shape,),
    }
    more = [(problem.k,), problem.output_shape] if problem.residual else []
    return [*(zeros(shape) for shape in (*shapes[problem.direction], *more)), *samples]


def _launch(row: dict[str, Any]) -> Launch:
    sites = row["sites"]
    functions: dict[tuple[str, int], set[str]] = {}
    for site in sites:
        functions.setdefault((site["file"], site["line"]), set()).add(site["function"])
    return Launch(
        kernel=row["kernel"].removeprefix("(").removesuffix(")"),
        blocks=math.prod(row["grid"]),
        blocks_run=row["blocks"],
        barriers=row["barriers"],
        instructions=row["instructions"],
        sites=[_site(site, functions[site["file"], site["line"]]) for site in sites],
    )


def _site(row: dict[str, Any], functions: set[str]) -> Site:
    """``functions``: those that have an access on this line, instances of templates."""
    file = row["file"].rpartition("csrc/")[2]
    given = {key: row[key] for key in Site.__annotations__.keys() & row.keys()}
    return Site(
        **{**given, "file": file},
        instance=_instance(row["function"], functions),
        source=linecache.getline(str(_CSRC / file), row["line"]).strip(),
    )


def _instance(function: str, functions: set[str]) -> str:
    """The first word in which a function's signature differs from the others'."""
    words = {text: re.findall(r"\w+|\W", re.sub(r"[\w{}]+::", "", text)) for text in functions}
    same = sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*words.values())))
    return "".join(words[function][same : same + 1])


def _table(launch: Launch) -> Table:
    whole = launch.blocks_run == launch.blocks
    sample = "all" if whole else f"{launch.blocks_run} of {launch.blocks:,}"
    note = "" if whole else ", spread evenly; figures of those"
    title = f"{escape(launch.kernel)}: {sample} blocks{note}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("access", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in (
        "requests", "lanes a\nrequest", "bytes", "sectors a\nrequest", "effi-\nciency",
        "wave-\nfronts", "conflicts",
    ):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for site in launch.sites:
        in_shared = not site.is_global
        table.add_row(
            escape(f"{Path(site.file).name}:{site.line} {site.instance}".rstrip()),
            site.kind,
            f"{site.requests:,}",
            f"{site.lanes / site.requests:.1f}",
            f"{site.bytes:,}",
            "" if in_shared else f"{site.sectors / site.requests:.1f}",
            "" if in_shared else f"{site.efficiency:.0%}",
            f"{site.wavefronts:,}" if in_shared else "",
            _conflicts(site) if in_shared else "",
        )
    return table


def _sources(launch: Launch) -> str:
    """The text of each line that has an access; empty where the sources are not installed."""
    texts = {f"{site.file}:{site.line}": site.source for site in launch.sites if site.source}
    return "".join(f"{place:<36} {text}\n" for place, text in texts.items())


def _conflicts(site: Site) -> str:
    return f"{site.conflicts:,} ({site.max_ways}-way)" if site.conflicts else "none"


def _instructions(launch: Launch) -> str:
    counts = sorted(launch.instructions.items(), key=lambda item: -item[1])
    text = ", ".join(f"{count:,} {kind}" for kind, count in counts)
    each = launch.barriers / launch.blocks_run
    return f"warp instructions: {text}; {each:g} barriers a block"


def _size(count: float) -> str:
    if count < 2**10:
        return f"{count:.0f} bytes"
    return f"{count / 2**10:,.1f} KiB" if count < 2**20 else f"{count / 2**20:,.1f} MiB"
