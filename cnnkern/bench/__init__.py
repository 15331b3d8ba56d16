"""Times cnnkern's kernels against PyTorch's. How, and why so: benchmarks/README.md."""

from cnnkern.bench.chart import draw_ratios
from cnnkern.bench.nets import net_table, run_nets
from cnnkern.bench.problems import change_batch, list_nets, resolve
from cnnkern.bench.record import Row, append_rows, read_rows
from cnnkern.bench.run import run, run_with_progress
from cnnkern.bench.suite import GROUPS, group_table, ratios, run_suite
from cnnkern.bench.table import ratio_table
from cnnkern.bench.timing import Timing, measure

__all__ = [
    "GROUPS",
    "Row",
    "Timing",
    "append_rows",
    "change_batch",
    "draw_ratios",
    "group_table",
    "list_nets",
    "measure",
    "net_table",
    "ratio_table",
    "ratios",
    "read_rows",
    "resolve",
    "run",
    "run_nets",
    "run_suite",
    "run_with_progress",
]
