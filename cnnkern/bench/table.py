"""A benchmark's rows as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cnnkern.bench.record import Row


def ratio_table(rows: Sequence[Row]) -> Table:
    """One line a row; the last line is the geometric mean of the ratios."""
    first = rows[0]
    table = Table(
        title=f"cnnkern {first.cnnkern} against PyTorch {first.torch} on {first.machine}",
        caption="ratio above 1: cnnkern is faster; PyTorch in its best memory format",
        box=SIMPLE_HEAD,
    )
    table.add_column("layer", overflow="fold")
    table.add_column("pass")
    for name in ("cnnkern [µs]", "PyTorch [µs]", "GFLOP/s", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.layer,
            row.direction,
            f"{row.cnnkern_us:,.0f}",
            f"{row.torch_us:,.0f}",
            f"{row.cnnkern_gflops:.1f}" if row.cnnkern_gflops else "",
            f"[{'green' if row.ratio >= 1 else 'red'}]{row.ratio:.2f}[/]",
        )
    table.add_section()
    mean = geometric_mean([row.ratio for row in rows])
    table.add_row("geometric mean", "", "", "", "", f"[bold]{mean:.2f}[/]")
    return table


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))
