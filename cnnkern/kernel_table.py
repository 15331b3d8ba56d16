"""Tables of all kernels, from the kernel lists and from what the compiler recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cnnkern import _C
from cnnkern._explain import build_info, resources

_COMPACT: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}


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
    table = Table(
        title=f"CPU kernels, best first; instruction set in use: {_C.isa()}", box=SIMPLE_HEAD
    )
    for name in ("operation", "kernel", "idea"):
        table.add_column(name)
    for row in rows:
        table.add_row(row["operation"], row["name"], row["idea"])
    return table


def _gpu_table(rows: list[dict[str, Any]], device: str, product: str, compiled: bool) -> Table:
    note = "" if compiled else "not compiled in this build: occupancy counts no registers"
    table = Table(title=f"CUDA kernels on {device} ({product})", caption=note, **_COMPACT)
    for name in ("kernel", "pass", "dtype", "layout", "tile"):
        table.add_column(name, no_wrap=True)
    for name in ("threads", "shared\n[B]", "regis-\nters", "spills\n[B]", "occu-\npancy"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        figures = resources(row, device)
        table.add_row(
            row["name"],
            row["direction"],
            row["dtype"],
            row["layout"],
            "×".join(str(size) for size in row["tile"] if size),
            str(row["threads"]),
            str(row["shared_bytes"]),
            _or_dash(figures["registers"]),
            _or_dash(figures["spill_bytes"]),
            f"{figures['occupancy']:.0f} %",
        )
    return table


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)
