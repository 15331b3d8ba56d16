"""Writes README's support matrix from what the exact tests ran, or checks that it agrees.

    python -m pytest tests/test_exact.py      notes what ran: build/support.csv
    python -m pytest tests/test_cuda.py       on a GPU: build/support_cuda/, a file for each process
    python tools/update_support.py            makes these the records (docs/support.csv and
                                              docs/support_cuda.csv) and the table
    python tools/update_support.py --check    exit with 1 and a sentence if README is out of date

A row of a record: device, kernel, direction, dtype, layout. The matrix lies between
<!-- support:start --> and <!-- support:end -->. Its lines are what docs/support.csv has; a line
names a GPU if that ran all of its rows, so a kernel that a GPU ran in part has several lines.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from marked_section import replace_section

from build import DEFAULT_ARCHS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RECORD, SEEN = ROOT / "docs" / "support.csv", ROOT / "build" / "support.csv"
GPU_RECORD, GPU_SEEN = ROOT / "docs" / "support_cuda.csv", ROOT / "build" / "support_cuda"
START, END = "<!-- support:start -->", "<!-- support:end -->"
PASSES = ("fprop", "dgrad", "wgrad", "forward", "backward", "gather", "bias gradient")
DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16")
FROM_SM_80 = re.compile(
    r"(implicit_gemm_mma|first_layer) (bfloat16|tf32)|implicit_gemm_mma_3xtf32|ladder_[56]"
)  # elsewhere their code is empty
PLAIN = re.compile(  # CPU kernels whose loops are the compiler's, for the least CPU
    r"(.*\.)?(reference|scatter|planes)|bias_grad|im2col|col2im|max_pool_gather"
)
TILE = re.compile(r"_(\d+x\d+x\d+)(_vec\d+)?$")
Row = tuple[str, ...]


def listed(values: Iterable[str], order: tuple[str, ...] = ()) -> str:
    """Comma-separated; in the order given, what it lacks behind it."""
    return ", ".join(sorted(values, key=lambda v: (order.index(v) if v in order else 99, v)))


def read(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def merged(record: Iterable[Row], seen: Iterable[Row]) -> list[Row]:
    """The record, in which the GPUs that were seen again have what they ran now, and that alone."""
    new = set(seen)
    gpus = {gpu for gpu, *_ in new}
    return sorted(new | {row for row in record if row[0] not in gpus})


def section(rows: Iterable[Row], gpu_rows: Iterable[Row]) -> str:
    """A line for each kernel and set of passes that ran in the same dtypes, layouts and devices."""
    ran_on: dict[Row, set[str]] = defaultdict(set)
    for gpu, *what in gpu_rows:
        ran_on[tuple(what)].add(gpu)
    passes: dict[tuple[str, str, str, str, str], list[set[str]]] = defaultdict(
        lambda: [set() for _ in "1234"]
    )
    for device, kernel, direction, dtype, layout in rows:
        tile = TILE.search(kernel)
        where = "CPU" if device == "cpu" else "CUDA"
        name = TILE.sub("", kernel)
        apart = (
            f" {dtype}" if name in ("implicit_gemm_mma", "first_layer") else ""
        )  # a line for each dtype
        gpus = listed(ran_on[kernel, direction, dtype, layout]) or "none yet"
        sets = passes[where, name, apart, direction, "–" if where == "CPU" else gpus]
        tiles = {tile[1].replace("x", "×")} if tile else set()
        for values, new in zip(sets, ({dtype}, {layout}, tiles, {device})):
            values |= new
    lines: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for (where, kernel, apart, direction, ran), sets in passes.items():
        dtypes, layouts, tiles, devices = sets
        name = f"`{kernel}`" + (f" {listed(tiles)}" if tiles else "")
        emulated = listed(devices) if where == "CUDA" else "–"
        archs = (
            DEFAULT_ARCHS.removeprefix("75 ") if FROM_SM_80.match(kernel + apart) else DEFAULT_ARCHS
        )
        isas = "plain C++" if PLAIN.fullmatch(kernel) else "AVX-512, AVX2, scalar"
        compiled = archs if where == "CUDA" else isas
        columns = (where, name, listed(dtypes, DTYPES), listed(layouts), emulated, compiled, ran)
        lines[columns].add(direction)
    head = (
        "",
        "kernel",
        "dtypes",
        "layouts",
        "emulated",
        "compiled for",
        "run on which GPU",
        "passes",
    )
    table = [head, ["---"] * len(head)]
    table += [(*columns, listed(passed, PASSES)) for columns, passed in sorted(lines.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    arguments = parser.parse_args()
    if not arguments.check and SEEN.exists():
        shutil.copyfile(SEEN, RECORD)
    if not arguments.check and (files := sorted(GPU_SEEN.glob("*.csv"))):
        rows = merged(read(GPU_RECORD), (row for file in files for row in read(file)))
        with GPU_RECORD.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    new_text = replace_section(
        "README.md", README.read_text(), START, END, section(read(RECORD), read(GPU_RECORD))
    )
    if not arguments.check:
        README.write_text(new_text)
    elif new_text != README.read_text():
        sys.exit(
            "README.md's support matrix disagrees with docs/support.csv and docs/support_cuda.csv; "
            "run: python tools/update_support.py"
        )


if __name__ == "__main__":
    main()
