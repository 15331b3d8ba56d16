"""Results as rows of CSV files to which lines are only ever added."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import cnnkern
from cnnkern import _C


@dataclass(frozen=True)
class Row:
    """One problem, measured once. Times are medians, with the 10th and 90th percentile.

    ``ratio`` is PyTorch's time by cnnkern's: above 1, cnnkern is faster. GFLOP/s are 0 for
    pooling. ``commit`` is empty outside a git checkout and ends in + if files had been changed.
    Of a whole network ``direction`` is inference or training, ``kernel`` how it was put on cnnkern
    (optimize, convert), ``torch_layout`` whom it is compared with (:mod:`cnnkern.bench.nets`).
    """

    date: str
    machine: str
    device: str
    threads: int
    isa: str
    torch: str
    cnnkern: str
    commit: str
    net: str
    layer: str
    multiplicity: int
    problem: str
    direction: str
    kernel: str
    layout: str
    cnnkern_us: float
    cnnkern_p10_us: float
    cnnkern_p90_us: float
    cnnkern_gflops: float
    torch_layout: str
    torch_us: float
    torch_p10_us: float
    torch_p90_us: float
    torch_gflops: float
    ratio: float
    samples: int


def describe_run(device: str) -> dict[str, Any]:
    """The fields of a row that all rows of a run share."""
    gpu = device == "cuda"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": torch.cuda.get_device_name() if gpu else cpu_model(),
        "device": device,
        "threads": torch.get_num_threads(),
        "isa": "sm_{}{}".format(*torch.cuda.get_device_capability()) if gpu else _C.isa(),
        "torch": torch.__version__,
        "cnnkern": cnnkern.__version__,
        "commit": _commit(),
    }


def cpu_model() -> str:
    """The processor's name as the kernel gives it; where it gives none, the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def append_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Adds lines to a CSV file, which is created with a header if there is none.

    They are written to a file beside it, which then takes its place: all of them, or none.

    Raises:
        ValueError: the file has other columns.
    """
    path = Path(path)
    names = [field.name for field in fields(Row)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with path.open(newline="") as file:
            if (header := next(csv.reader(file), [])) != names:
                raise ValueError(f"{path}: has the columns {header}, but rows have {names}")
    new = path.with_name(f"{path.name}.new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        if path.exists():
            file.write(path.read_text())
        else:
            writer.writeheader()
        for row in rows:
            values = asdict(row).items()
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in values})
    new.replace(path)


def read_rows(path: str | Path) -> list[Row]:
    """Every row of a file that :func:`append_rows` wrote, oldest first."""
    types = {"int": int, "float": float, "str": str}
    with Path(path).open(newline="") as file:
        return [
            Row(**{field.name: types[str(field.type)](line[field.name]) for field in fields(Row)})
            for line in csv.DictReader(file)
        ]


def newest_run(rows: Sequence[Row]) -> list[Row]:
    """Those rows that were measured last."""
    newest = max(row.date for row in rows)
    return [row for row in rows if row.date == newest]


def _commit() -> str:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
            )
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    # An installed copy may lie inside somebody else's checkout.
    if not git("ls-files", Path(__file__).name):
        return ""
    changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short=12", "HEAD") + changed
