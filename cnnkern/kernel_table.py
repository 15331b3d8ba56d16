"""Tables of all kernels, from the kernel lists and from what the compiler recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from cnnkern import _C
from cnnkern._explain import build_info, resources


def tables(device: str = "") -> Iterator[Table]:
    """One table for the CPU and one for each GPU architecture, or only ``device``'s.

    Raises:
        ValueError: no device of that name is known.
    """
    products = dict(_C.devices())
    if device not in ("", "cpu", *products):
        raise ValueError(f"device '{device}' is not known; use one of cpu, {', '.join(products)}")
    # Pooling uses no tile and no shared memory, and takes every layout.
    rows = [{"tile": (), "shared_bytes": 0, "layout": "any", **row} for row in _C.kernels()]
    if device in ("", "cpu"):
        yield _cpu_table([row for row in rows if row["backend"] == "cpu"])
    built = {f"sm_{arch.rstrip('af')}" for arch in build_info().get("archs", [])}
    for name, product in products.items():
        if device == name or (not device and name in built):
            cuda = [row for row in rows if row["backend"] == "cuda"]
            yield _gpu_table(cuda, name, product, compiled=name in built)


def _cpu_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"CPU kernels, best first; instruction set in use: {_C.isa()}")
    for name in ("operation", "kernel", "idea"):
        table.add_column(name)
    for row in rows:
        table.add_row(row["operation"], row["name"], row["idea"])
    return table


def _gpu_table(rows: list[dict[str, Any]], device: str, product: str, compiled: bool) -> Table:
    table = Table(
        title=f"CUDA kernels on {device} ({product})",
        caption=None
        if compiled
        else "not compiled for it in this build: no registers, occupancy without regard to them",
    )
    for name in ("operation", "pass", "kernel", "dtype", "layout", "tile"):
        table.add_column(name, no_wrap=True)
    for name in ("threads", "shared [B]", "registers", "spills [B]", "occupancy"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = resources(row, device)
        tile = [size for size in row["tile"] if size]
        table.add_row(
            row["operation"],
            row["direction"],
            row["name"],
            row["dtype"],
            row["layout"],
            "×".join(map(str, tile)),
            str(row["threads"]),
            str(row["shared_bytes"]),
            _or_dash(figures["registers"]),
            _or_dash(figures["spill_bytes"]),
            f"{figures['occupancy']:.0f} %",
        )
    return table


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)
