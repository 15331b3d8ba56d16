"""Times cnnkern's kernels against PyTorch's. How, and why so: benchmarks/README.md."""

from cnnkern.bench.chart import draw_ratios
from cnnkern.bench.problems import list_nets, resolve
from cnnkern.bench.record import Row, append_rows, read_rows
from cnnkern.bench.run import run, run_with_progress
from cnnkern.bench.table import ratio_table
from cnnkern.bench.timing import Timing, measure

__all__ = [
    "Row",
    "Timing",
    "append_rows",
    "draw_ratios",
    "list_nets",
    "measure",
    "ratio_table",
    "read_rows",
    "resolve",
    "run",
    "run_with_progress",
]
