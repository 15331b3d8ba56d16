"""The CPU suite: many layers in groups, each group with the speed that it should reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cnnkern.bench.problems import change_batch, resolve
from cnnkern.bench.record import Row, describe_run
from cnnkern.bench.run import run
from cnnkern.bench.table import geometric_mean
from cnnkern.problems import Problem
from cnnkern.progress import progress_bar

NETS = ("alexnet", "vgg16", "googlenet", "resnet50")
FILES = (*NETS, "depthwise", "pooling", "dtypes")
CACHE = 16 << 20  # bytes of input and output, beyond which a layer streams from memory


@dataclass(frozen=True)
class Group:
    """Problems of one direction whose ratios have one target.

    ``holds`` is asked of the row's ``net`` and the problem. ``against``: ``"nchw"`` and ``"nhwc"``
    compare both libraries in that memory format, ``"best"`` each in its faster one. ``least`` is
    what no single problem should be below, 0 if there is nothing to say.
    """

    name: str
    holds: Callable[[str, Problem], bool]
    direction: str
    against: str
    target: float
    least: float


def _dense(net: str, p: Problem) -> bool:
    return net in NETS and not p.is_pool and p.groups == 1


def _wide(net: str, p: Problem) -> bool:
    return _dense(net, p) and p.kernel == (3, 3) and p.stride == (1, 1) and min(p.c, p.k) >= 64


def _depthwise(_: str, p: Problem) -> bool:
    return not p.is_pool and p.groups == p.c > 1 and len(p.input) == 2


def _depthwise_1d(_: str, p: Problem) -> bool:
    return not p.is_pool and p.groups == p.c > 1 and len(p.input) == 1


def _streaming(net: str, p: Problem) -> bool:
    values = math.prod(p.input_shape) + math.prod(p.output_shape)
    return _depthwise(net, p) and values * p.dtype.itemsize > CACHE


def _cached(net: str, p: Problem) -> bool:
    return _depthwise(net, p) and not _streaming(net, p)


def _pooling(operation: str) -> Callable[[str, Problem], bool]:
    return lambda _, p: p.operation == operation


def _typed(dtype: torch.dtype) -> Callable[[str, Problem], bool]:
    return lambda _, p: p.dtype == dtype


_ALL = ("fprop", "dgrad", "wgrad")
GROUPS = [
    Group(name, holds, direction, against, target, least)
    for name, holds, directions, against, target, least in (
        ("dense", _dense, _ALL, "best", 1.4, 0.95),
        ("dense", _dense, _ALL, "nchw", 1.8, 0),
        ("3×3, 64 channels and more", _wide, _ALL[:2], "best", 2.2, 0.95),
        ("3×3, 64 channels and more", _wide, _ALL[2:], "best", 1.6, 0.95),
        ("depthwise", _depthwise, _ALL, "nchw", 1.5, 0.95),
        ("depthwise, from memory", _streaming, _ALL[:1], "nhwc", 1.1, 0.95),
        ("depthwise, in the cache", _cached, _ALL[:1], "nhwc", 1.4, 0.95),
        ("depthwise", _depthwise, _ALL[1:], "nhwc", 1.4, 0.95),
        ("depthwise 1-d", _depthwise_1d, _ALL, "nchw", 4, 0.95),
        ("max pool", _pooling("max_pool"), ["forward"], "nchw", 9, 1),
        ("max pool", _pooling("max_pool"), ["backward"], "nchw", 6, 1),
        ("max pool", _pooling("max_pool"), ["forward"], "nhwc", 1.3, 1),
        ("max pool", _pooling("max_pool"), ["backward"], "nhwc", 5, 1),
        ("average pool", _pooling("avg_pool"), ["forward", "backward"], "best", 1.3, 1),
        ("float16", _typed(torch.float16), _ALL[:1], "best", 8, 0),
        ("float16", _typed(torch.float16), _ALL[1:], "best", 35, 0),
        ("float64", _typed(torch.float64), _ALL, "best", 2.5, 0),
        ("bfloat16", _typed(torch.bfloat16), _ALL, "best", 0.9, 0),
    )
    for direction in directions
]


def run_suite(
    budget: float,
    console: Console,
    files: Sequence[str] = FILES,
    quick: bool = False,
    on_rows: Callable[[list[Row]], Any] = lambda rows: None,
) -> list[Row]:
    """Times the problems of all files in each memory format, with a progress bar.

    All rows are of one run and carry the file's name as ``net``; ``on_rows`` is told those of each
    file as they come.
    """
    problems = {file: suite_problems(file, quick) for file in files}
    origin, rows = describe_run("cpu"), []
    with progress_bar(console) as bar:
        task = bar.add_task("timing", total=sum(map(len, problems.values())))
        for net, texts in problems.items():

            def show(row: Row) -> None:
                bar.update(task, advance=1, description=f"{row.net}.{row.layer} {row.direction}")

            found = run(texts, net, "cpu", budget, show, each_layout=True, origin=origin)
            rows += found
            on_rows(found)
    return rows


def suite_problems(file: str, quick: bool = False) -> list[str]:
    """The problems of one of :data:`FILES`; ``quick``: of one image each."""
    problems = resolve(file)[1]
    return [change_batch(text, lambda images: 1) for text in problems] if quick else problems


def ratios(rows: Sequence[Row], against: str) -> list[float]:
    """One for each problem that has it; the rows are of each memory format (``each_layout``)."""
    layouts: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        layouts.setdefault((row.net, row.problem), {})[row.layout] = row
    if against != "best":
        return [found[against].ratio for found in layouts.values() if against in found]
    return [
        min(row.torch_us for row in found.values()) / min(row.cnnkern_us for row in found.values())
        for found in layouts.values()
    ]


def group_table(rows: Sequence[Row]) -> Table:
    """One line for each group that has rows: the geometric mean and the least of its ratios."""
    first = rows[0]
    table = Table(
        title=f"cnnkern {first.cnnkern} against PyTorch {first.torch} on {first.machine}, "
        f"{first.isa}, threads: {first.threads}",
        caption="ratio above 1: cnnkern is faster; best: each in its faster memory format",
        box=SIMPLE_HEAD,
    )
    for name in ("layers", "pass", "memory format"):
        table.add_column(name, overflow="fold")
    for name in ("count", "mean", "target", "least", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    problems = [(Problem.parse(row.problem), row) for row in rows]
    for group in GROUPS:
        held = [
            row
            for problem, row in problems
            if problem.direction == group.direction and group.holds(row.net, problem)
        ]
        if found := ratios(held, group.against):
            table.add_row(
                group.name,
                group.direction,
                group.against,
                str(len(found)),
                judged(geometric_mean(found), group.target),
                f"{group.target:.2f}",
                judged(min(found), group.least),
                f"{group.least:.2f}" if group.least else "",
            )
    return table


def judged(value: float, wanted: float) -> str:
    """Green where the value reaches what is wanted."""
    return f"[{'green' if value >= wanted else 'red'}]{value:.2f}[/]"
