"""Reads what ptxas said of every kernel, prints it as a table, and fails on any spill.

    python tools/check_kernels.py build        # a folder with *.ptxas.txt files, one a .cu

The logs are the stderr of `nvcc -Xptxas -v` (or --resource-usage); tools/build.py keeps them next
to the objects. Registers are per thread; shared memory (static), spills and stack are in bytes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

COMPILING = re.compile(r"Compiling entry function '(?P<symbol>\S+)' for 'sm_(?P<arch>\w+)'")
MEMORY = re.compile(
    r"(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
USED = re.compile(r"Used (?P<registers>\d+) registers")
SHARED = re.compile(r"(?P<shared>\d+) bytes smem")
CONSTANT = re.compile(r"(?P<constant>\d+) bytes cmem\[0\]")
PARAMETERS_BEGIN = 0x160  # in constant bank 0, up to sm_89; ptxas says nothing of later ones


@dataclass(frozen=True)
class KernelRecord:
    """One kernel, compiled for one architecture."""

    arch: str  # "80", "90a"
    mangled: str
    demangled: str
    registers: int  # per thread
    shared_bytes: int  # static; dynamic shared memory is the launch's business
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    parameter_bytes: int | None  # the same for every architecture, but not told for each

    @property
    def spills(self) -> bool:
        """Whether ptxas ran out of registers."""
        return self.spill_store_bytes > 0 or self.spill_load_bytes > 0


def demangle(symbols: list[str]) -> list[str]:
    """The C++ names of mangled symbols, by cu++filt or c++filt; unchanged where neither exists."""
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None or not symbols:
        return symbols
    text = "\n".join(symbols) + "\n"
    result = subprocess.run([tool], input=text, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def parse_ptxas(text: str) -> list[KernelRecord]:
    """The records of one log, in its order; each needs its "Compiling" and its "Used" line."""
    found: list[tuple[str, str, int, int, int | None, int, int, int]] = []
    symbol, arch, memory = "", "", (0, 0, 0)
    for line in text.splitlines():
        if compiling := COMPILING.search(line):
            symbol, arch, memory = compiling["symbol"], compiling["arch"], (0, 0, 0)
        elif bytes_used := MEMORY.search(line):
            memory = (int(bytes_used["stack"]), int(bytes_used["stores"]), int(bytes_used["loads"]))
        elif (used := USED.search(line)) and symbol:
            shared = SHARED.search(line)
            shared_bytes = int(shared["shared"]) if shared else 0
            constant = CONSTANT.search(line)
            parameters = int(constant["constant"]) - PARAMETERS_BEGIN if constant else None
            found.append((symbol, arch, int(used["registers"]), shared_bytes, parameters, *memory))
            symbol = ""
    names = demangle([record[0] for record in found])
    return [
        KernelRecord(arch, mangled, name, registers, shared, stores, loads, stack, parameters)
        for name, (mangled, arch, registers, shared, parameters, stack, stores, loads) in zip(
            names, found, strict=True
        )
    ]


def read_logs(folder: Path) -> list[KernelRecord]:
    """The records of every *.ptxas.txt under a folder."""
    return [
        record
        for log in sorted(folder.rglob("*.ptxas.txt"))
        for record in parse_ptxas(log.read_text())
    ]


def short_name(demangled: str) -> str:
    """The kernel and its template arguments, without namespaces, return type and parameters."""
    name = demangled.replace("(anonymous namespace)::", "").removeprefix("void ")
    depth = 0
    for position, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            name = name[:position]
            break
    return re.sub(r"\w+::", "", name)


def table_of(records: Iterable[KernelRecord]) -> Table:
    """A row a kernel, a column an architecture: registers a thread, and bytes spilled if any."""
    kernels: dict[str, dict[str, KernelRecord]] = {}
    for record in records:
        kernels.setdefault(short_name(record.demangled), {})[record.arch] = record
    archs = sorted(
        {arch for row in kernels.values() for arch in row}, key=lambda arch: int(arch.rstrip("af"))
    )
    from rich.table import Table  # here: the build reads logs where rich need not be installed

    table = Table("kernel", *(f"sm_{arch}" for arch in archs), title="registers a thread")
    table.columns[0].no_wrap = True
    for name, row in sorted(kernels.items()):
        cells = []
        for arch in archs:
            found = row.get(arch)
            if found is None:
                cells.append("")
            elif found.spills:
                spilled = found.spill_store_bytes + found.spill_load_bytes
                cells.append(f"[bold red]{found.registers}, {spilled} B spilled[/]")
            else:
                cells.append(str(found.registers))
        table.add_row(name, *cells)
    return table


def main(arguments: list[str]) -> int:
    """Prints the table; 1 if a kernel spills, 2 if there is nothing to read."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    records = read_logs(Path(arguments[0]))
    if not records:
        print(f"{arguments[0]}: no kernel in any *.ptxas.txt; build with nvcc", file=sys.stderr)
        return 2
    from rich.console import Console

    console = Console()
    console.width = max(console.width, 110)
    console.print(table_of(records))
    spilling = [record for record in records if record.spills]
    console.print(f"{len(records)} kernels, {len(spilling)} spill")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
