"""Reads the machine code (SASS) of every kernel and checks the order that shared memory demands.

    python tools/check_sass.py build/ninja/cuda     # a folder with objects, or objects and cubins

A copy from global to shared memory passes LDGSTS (cp.async), LDGDEPBAR (commit), DEPBAR (wait) and
BAR (__syncthreads) before LDS or LDSM may read it. A plain store passes STS and BAR, or, if it is
for the warp alone, NOP: that is what a full __syncwarp leaves of itself (so may other calls of a
whole warp: whether a block's barrier is missing there, the emulator's race check tells). The
compiler may move instructions, and a wrong asm statement lets it move them too far: this is checked
where it counts, along every path of the control flow, for every architecture in the files.

The check knows no addresses, so it is about order alone, and takes every store to be for other
threads, of the block or of the warp; whether they overwrite what is still read, only the emulator's
race check can tell.
  commit     no path leads from an LDGSTS to a wait or the end without an LDGDEPBAR
  wait       no path leads from the entry past an LDGSTS to a shared load without a wait, and every
             loop that copies and loads waits; in it, the wait leaves as many groups under way as
             the prologue committed, less one (stages - 2)
  barrier    no path leads from a wait to a shared load without a BAR, nor from an STS without a BAR
             or NOP; every loop that writes and loads shared memory has one, and a BAR a wait where
             it copies
  resources  no local memory (LDL, STL), no call of a division subroutine inside a loop, and no
             jump through a table (BRX), which this check could not follow
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
from check_kernels import demangle, short_name

if TYPE_CHECKING:
    from rich.table import Table

ARCH = re.compile(r"^\s*code for sm_(\w+)", re.M)
FUNCTION = re.compile(r"^\s*Function : (\S+)", re.M)
INSTRUCTION = re.compile(
    r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/\s+(?:@(?P<predicate>!?U?P\w+)\s+)?"
    r"(?P<opcode>[A-Z][\w.]*)\s*(?P<operands>[^;]*?)\s*;"
    r"(?:\s*/\* 0x[0-9a-f]{16} \*/\s*/\* 0x(?P<control>[0-9a-f]{16}) \*/)?",
    re.M,
)
TARGET = re.compile(r"0x([0-9a-f]+)$")


@dataclass(frozen=True)
class Instruction:
    address: int
    predicate: str  # "P0", "!P0", "" if it always runs
    opcode: str  # "LDS.128"
    operands: str
    control: int = 0  # the upper word of its encoding

    @property
    def stall(self) -> int:
        """Cycles that the compiler lets pass before the warp's next instruction."""
        return self.control >> 41 & 0xF

    @cached_property
    def kind(self) -> str:
        return self.opcode.partition(".")[0]

    @property
    def target(self) -> int | None:
        """Where a branch or call leads, if this is one."""
        if self.kind not in ("BRA", "CALL", "WARPSYNC") or self.opcode == "WARPSYNC":
            return None  # a bare WARPSYNC has a mask of lanes, no target
        found = TARGET.search(self.operands)
        return int(found[1], 16) if found else None

    def __str__(self) -> str:
        return f"{self.opcode} at 0x{self.address:04x}"


class Kernel:
    """The instructions of one kernel on one architecture, and where control goes from each."""

    def __init__(self, arch: str, mangled: str, text: str) -> None:
        self.arch, self.mangled = arch, mangled
        self._loops: dict[str, dict[int, set[int]]] = {}  # by what ends paths, by instruction
        # @!PT never runs: dummies that the compiler puts before an LDGSTS.
        self.code = [
            Instruction(
                int(m["address"], 16),
                m["predicate"] or "",
                m["opcode"],
                m["operands"],
                int(m["control"] or "0", 16),
            )
            for m in INSTRUCTION.finditer(text)
            if m["predicate"] != "!PT"
        ]

    @cached_property
    def index(self) -> dict[int, int]:
        return {instruction.address: i for i, instruction in enumerate(self.code)}

    def at(self, address: int) -> int:
        """The instruction at an address, or the next one where a dummy was left out."""
        return next(self.index[a] for a in range(address, address + 0x200, 16) if a in self.index)

    @cached_property
    def subroutines(self) -> set[int]:
        """Targets of calls that return; CALL.REL.NOINC is also used as a jump that does not."""
        targets = {i.target for i in self.code if i.kind == "CALL" and i.target is not None}
        returns = {i for i, one in enumerate(self.code) if one.kind == "RET"}
        if not returns:
            return set()
        flow = [self._successors(i, subroutines=set(targets)) for i in range(len(self.code))]
        return {t for t in targets if returns & reached(flow, [self.at(t)])}

    def _successors(self, i: int, subroutines: set[int | None]) -> list[int]:
        one, following = self.code[i], [i + 1] if i + 1 < len(self.code) else []
        if one.kind in ("EXIT", "RET"):
            return following if one.predicate else []
        if one.target is None or (one.kind == "CALL" and one.target in subroutines):
            return following  # a subroutine does arithmetic only and comes back
        always = not one.predicate and TARGET.fullmatch(one.operands) is not None
        return [self.at(one.target)] if always else [*following, self.at(one.target)]

    @cached_property
    def successors(self) -> list[list[int]]:
        return [self._successors(i, set(self.subroutines)) for i in range(len(self.code))]

    @cached_property
    def predecessors(self) -> list[list[int]]:
        backwards: list[list[int]] = [[] for _ in self.code]
        for i, following in enumerate(self.successors):
            for j in following:
                backwards[j].append(i)
        return backwards

    def all(self, *kinds: str) -> list[int]:
        return [i for i, one in enumerate(self.code) if one.kind in kinds]

    def after(self, i: int, stop_at: str = "") -> set[int]:
        """What can run after instruction i; paths end at instructions of the kinds `stop_at`."""
        return reached(self.successors, self.successors[i], self._stops(stop_at))

    def from_entry(self, stop_at: str) -> set[int]:
        return reached(self.successors, [0], self._stops(stop_at))

    def leads(self, starts: list[int], targets: set[int], stop_at: str) -> tuple[int, int] | None:
        """The first start whence a path leads to a target before a `stop_at`, and the target."""
        following = [j for i in starts for j in self.successors[i]]
        if not targets & reached(self.successors, following, self._stops(stop_at)):
            return None
        found = ((i, targets & self.after(i, stop_at)) for i in starts)
        return next((i, min(some)) for i, some in found if some)

    def loop_of(self, i: int, stop_at: str = "") -> set[int]:
        """All that lies on a cycle through instruction i; empty if it runs once."""
        loops, stops = self._loops.setdefault(stop_at, {}), self._stops(stop_at)
        if i not in loops:
            forwards = self.after(i, stop_at)
            on_cycle = i in forwards
            loops[i] = forwards & reached(self.predecessors, [i], stops) if on_cycle else set()
            if not stops(i):  # whoever is on the cycle has the same one
                loops |= dict.fromkeys((j for j in loops[i] if not stops(j)), loops[i])
        return loops[i]

    def _stops(self, kinds: str) -> Callable[[int], bool]:
        # Under a predicate it may not run, so the path goes on.
        any_of = kinds.split()
        return lambda i: self.code[i].kind in any_of and not self.code[i].predicate


def reached(
    flow: list[list[int]], starts: Iterable[int], stop: Callable[[int], bool] = lambda _: False
) -> set[int]:
    """Everything on paths from `starts`; those at which a path stops are included."""
    seen, waiting = set(), list(starts)
    while waiting:
        i = waiting.pop()
        if i in seen:
            continue
        seen.add(i)
        if not stop(i):
            waiting += flow[i]
    return seen


def check(kernel: Kernel) -> list[str]:
    """What is wrong with a kernel, a sentence each."""
    return [*check_async(kernel), *check_barriers(kernel), *check_resources(kernel)]


def check_async(kernel: Kernel) -> Iterator[str]:
    """Commit and wait of asynchronous copies."""
    code, copies = kernel.code, kernel.all("LDGSTS")
    waits, loads = set(kernel.all("DEPBAR")), set(kernel.all("LDS", "LDSM"))
    ends = set(kernel.all("EXIT"))
    if missed := kernel.leads(copies, waits | ends, stop_at="LDGDEPBAR"):
        copy, end = missed
        yield (
            f"commit: {code[copy]} reaches {code[end]} without an LDGDEPBAR; "
            "close the group with cp_async_commit()"
        )
    unwaited = kernel.from_entry(stop_at="DEPBAR")
    early = kernel.leads([i for i in copies if i in unwaited], loads, stop_at="DEPBAR")
    if early:
        copy, load = early
        yield (
            f"wait: {code[copy]} reaches {code[load]} before any DEPBAR; "
            "call cp_async_wait before the first load"
        )
    for copy in copies if not early else []:
        if endless := sorted(loads & kernel.loop_of(copy, stop_at="DEPBAR")):
            yield (
                f"wait: a loop with {code[copy]} and {code[endless[0]]} has no DEPBAR; "
                "call cp_async_wait in each round"
            )
            break
    for wait in sorted(waits) if copies else []:
        stages, left = stages_at(kernel, wait), groups_left(code[wait])
        if stages is not None and left != stages - 2 and loads & kernel.loop_of(wait):
            yield (
                f"wait: {code[wait]} leaves {left} groups under way, but the prologue commits "
                f"{stages - 1}; with {stages} stages that must be {stages - 2}"
            )


OF_STORES = "BAR NOP"  # of the block, or of the warp


def check_barriers(kernel: Kernel) -> Iterator[str]:
    """A barrier between a write of shared memory and a load of it by others, and back."""
    code, loads = kernel.code, set(kernel.all("LDS", "LDSM"))
    copies, stores = kernel.all("LDGSTS"), kernel.all("STS")
    waits = kernel.all("DEPBAR") if copies else []
    if early := (
        kernel.leads(waits, loads, stop_at="BAR") or kernel.leads(stores, loads, stop_at=OF_STORES)
    ):
        write, load = early
        yield (
            f"barrier: {code[write]} reaches {code[load]} without a BAR; other threads' "
            "data may be missing: call __syncthreads() between them"
        )
    for write in copies + stores:
        stop_at = "BAR" if write in copies else OF_STORES
        if endless := sorted(loads & kernel.loop_of(write, stop_at=stop_at)):
            yield (
                f"barrier: a loop with {code[write]} and {code[endless[0]]} has no BAR; data is "
                "overwritten while others may still read it: call __syncthreads() in each round"
            )
            break
    loop = hot_loop(kernel)
    barriers = [i for i in kernel.all("BAR") if i in loop]
    waits = [i for i in waits if i in loop]
    if waits and len(barriers) != len(waits):
        yield (
            f"barrier: the loop around {code[waits[0]]} has {len(barriers)} BAR for {len(waits)} "
            "DEPBAR; one __syncthreads() after each cp_async_wait is enough"
        )


def check_resources(kernel: Kernel) -> Iterator[str]:
    """Local memory, and division subroutines where they cost most."""
    code = kernel.code
    if local := kernel.all("LDL", "STL"):
        yield (
            f"local memory: {len(local)} accesses, first {code[local[0]]}; registers ran out or an "
            "array is indexed by a variable"
        )
    if tables := kernel.all("BRX"):
        yield (
            f"jump table: {code[tables[0]]} leads nobody knows where; write the switch as branches"
        )
    for call in kernel.all("CALL"):
        target = code[call].target
        if target not in kernel.subroutines or not kernel.loop_of(call):
            continue
        body = reached(kernel.successors, [kernel.at(target)])
        if any(code[i].kind == "MUFU" for i in body):  # the reciprocal that a division starts with
            yield (
                f"division: {code[call]} calls a subroutine inside a loop; divide outside it or "
                "use FastDivmod"
            )
            break


def hot_loop(kernel: Kernel) -> set[int]:
    """The instructions of the largest loop that loads shared memory and fills it, by asynchronous
    copies if the kernel has any: an epilogue's loop may be larger than the main one."""
    writes = set(kernel.all("LDGSTS") or kernel.all("STS"))
    loops = (kernel.loop_of(load) for load in kernel.all("LDS", "LDSM"))
    return max((loop for loop in loops if loop & writes), key=len, default=set())


def groups_left(wait: Instruction) -> int:
    """N of `DEPBAR.LE SB0, N`."""
    found = TARGET.search(wait.operands)
    return int(found[1], 16) if found else 0


def stages_at(kernel: Kernel, wait: int) -> int | None:
    """One more than the groups committed on the way to a wait; None if none, or if ways differ."""
    most, counts = 16, set()
    seen, waiting = set(), [(0, 0)]
    while waiting:
        i, groups = state = waiting.pop()
        if state in seen or groups > most:
            continue
        seen.add(state)
        if i == wait:
            counts.add(groups)
        elif kernel.code[i].kind != "DEPBAR":
            groups += kernel.code[i].kind == "LDGDEPBAR"
            waiting += [(j, groups) for j in kernel.successors[i]]
    return counts.pop() + 1 if len(counts) == 1 and counts != {0} else None


def describe(kernel: Kernel) -> str:
    """What a cell of the table says of a kernel without findings; empty if nothing was to check."""
    if not kernel.all("LDS", "LDSM", "STS"):
        return ""
    if kernel.all("LDGSTS"):
        loop = hot_loop(kernel)
        for wait in kernel.all("DEPBAR"):
            if wait in loop and (stages := stages_at(kernel, wait)) is not None:
                return f"{stages} stages"
    return f"{len(kernel.all('BAR'))} BAR"


def find_cuobjdump() -> str | None:
    """On PATH, in CUDA_HOME, or in the package of triton, which comes with torch."""
    folders = [os.environ.get("PATH", ""), f"{os.environ.get('CUDA_HOME', '')}/bin"]
    triton = find_spec("triton")
    for package in (triton and triton.submodule_search_locations) or []:
        folders.append(f"{package}/backends/nvidia/bin")
    return shutil.which("cuobjdump", path=os.pathsep.join(folders))


def parse_sass(text: str) -> list[Kernel]:
    """The kernels in the output of `cuobjdump -sass`."""
    marks = list(re.finditer(f"{ARCH.pattern}|{FUNCTION.pattern}", text, re.M))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    kernels, arch = [], ""
    for mark, end in zip(marks, ends):
        if mark[1]:
            arch = mark[1]
        else:
            kernels.append(Kernel(arch, mark[2], text[mark.end() : end]))
    return kernels


def check_file(path: Path) -> list[tuple[Kernel, list[str]]]:
    """The kernels of an object, cubin or library, each with its findings."""
    tool = find_cuobjdump()
    if tool is None:
        raise FileNotFoundError(
            "cuobjdump is not on PATH, in CUDA_HOME or in triton; pip install triton"
        )
    dumped = subprocess.run([tool, "-sass", str(path)], capture_output=True, text=True)
    return [(kernel, check(kernel)) for kernel in parse_sass(dumped.stdout)]


@dataclass(frozen=True)
class Verdict:
    """On one kernel and architecture: all that a process hands on of its instructions."""

    arch: str
    mangled: str
    description: str
    findings: list[str]


def judge(path: Path) -> list[Verdict]:
    return [
        Verdict(kernel.arch, kernel.mangled, describe(kernel), findings)
        for kernel, findings in check_file(path)
    ]


def table_of(rows: list[tuple[str, Verdict]]) -> Table:
    """A row a kernel with shared memory or findings, a column an architecture."""
    archs = sorted({one.arch for _, one in rows}, key=lambda arch: int(arch.rstrip("af")))
    cells: dict[str, dict[str, str]] = {}
    for name, one in rows:
        count = len(one.findings)
        text = f"[bold red]findings: {count}[/]" if count else one.description
        if text:
            cells.setdefault(name, {})[one.arch] = text
    from rich.table import Table

    table = Table("kernel", *(f"sm_{arch}" for arch in archs), title="order in shared memory")
    table.columns[0].no_wrap = True
    for name, row in sorted(cells.items()):
        table.add_row(name, *(row.get(arch, "") for arch in archs))
    return table


def main(arguments: list[str]) -> int:
    """Prints findings and the table; 1 if there are findings, 2 if there is nothing to read."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    given = [Path(argument) for argument in arguments]
    files = [f for path in given for f in (sorted(path.rglob("*.o")) if path.is_dir() else [path])]
    try:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            checked = [one for verdicts in pool.map(judge, files) for one in verdicts]
    except FileNotFoundError as error:
        print(f"check_sass: {error}", file=sys.stderr)
        return 2
    if not checked:
        print(f"{' '.join(arguments)}: no machine code; build with nvcc", file=sys.stderr)
        return 2
    names = demangle([one.mangled for one in checked])
    rows = [(short_name(name), one) for name, one in zip(names, checked)]
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, 160)
    console.print(table_of(rows))
    for name, one in rows:
        for finding in one.findings:
            console.print(f"[bold red]sm_{one.arch}[/] {name}: {finding}", markup=True)
    wrong = sum(bool(one.findings) for _, one in rows)
    console.print(f"{len(rows)} kernels, {wrong} with findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
