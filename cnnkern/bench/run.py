"""Runs problems through cnnkern and PyTorch and makes rows of what it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as torch_functional

import cnnkern
from cnnkern import _C
from cnnkern.bench.record import Row, describe_run
from cnnkern.bench.timing import Timing, measure, recorded, waiter
from cnnkern.bench.workload import Workload, flops
from cnnkern.problems import Problem
from cnnkern.progress import progress_bar

RECORDED = 4  # calls in a CUDA graph
# ‖ours − torch's‖/‖torch's‖ beyond which the two did not compute the same thing.
TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}


class Disagreement(RuntimeError):
    """cnnkern and PyTorch gave different results: there is nothing to time."""


def run(
    problems: Sequence[str],
    net: str = "",
    device: str = "cpu",
    budget: float = 0.25,
    on_row: Callable[[Row], Any] = lambda row: None,
    each_layout: bool = False,
    origin: dict[str, Any] | None = None,
) -> list[Row]:
    """Times each problem; ``on_row`` is told each result as it comes.

    Both run in every memory format that such tensors have, whichever the problem names, and the
    best of each counts; with ``each_layout`` there is instead a row for each memory format, with
    both in it.

    Args:
        problems: strings, each naming one direction (see :func:`cnnkern.bench.resolve`).
        net: the name under which the rows are recorded.
        device: cpu or cuda.
        budget: seconds of sampling for each of the compared calls.
        origin: what :func:`describe_run` found for a larger run that this one is part of.
    """
    origin = origin or describe_run(device)
    rows = []
    for text in problems:
        found = _run_one(text, net, device, budget, origin, each_layout)
        rows += found
        on_row(found[-1])
    return rows


def run_with_progress(
    problems: Sequence[str], net: str, device: str, budget: float, console: Console
) -> list[Row]:
    """:func:`run` with a progress bar on the terminal."""
    with progress_bar(console) as bar:
        task = bar.add_task("timing", total=len(problems))

        def show(row: Row) -> None:
            bar.update(task, advance=1, description=f"{row.layer} {row.direction}")

        return run(problems, net, device, budget, show)


def _run_one(
    text: str, net: str, device: str, budget: float, origin: dict[str, Any], each_layout: bool
) -> list[Row]:
    problem = Problem.parse(text)
    on_gpu = device == "cuda"
    with torch.cuda.stream(torch.cuda.Stream() if on_gpu else None):
        workload = Workload(problem, device)
        layouts = workload.layouts()
        calls = {
            f"{who} {layout}": workload.call(functional, layout)
            for who, functional in (("cnnkern", cnnkern.functional), ("torch", torch_functional))
            for layout in layouts
        }
        for layout in layouts:
            _check_agreement(problem, calls[f"cnnkern {layout}"](), calls["torch nchw"]())
        if on_gpu:
            calls = {name: recorded(call, RECORDED) for name, call in calls.items()}
        timings = measure(calls, budget, waiter(device))
    if on_gpu:
        timings = {name: timing.of_one(RECORDED) for name, timing in timings.items()}

    def best(who: str) -> str:
        return min(layouts, key=lambda layout: timings[f"{who} {layout}"].median)

    pairs = zip(layouts, layouts) if each_layout else [(best("cnnkern"), best("torch"))]
    return [_row(problem, net, device, origin, timings, *pair) for pair in pairs]


def _row(
    problem: Problem, net: str, device: str, origin: dict[str, Any], timings: dict[str, Timing],
    my_layout: str, torch_layout: str,
) -> Row:  # fmt: skip
    mine, baseline = timings[f"cnnkern {my_layout}"], timings[f"torch {torch_layout}"]
    plan = _C.plan(f"{problem.text} {my_layout}", _plan_device(device))
    return Row(
        **origin,
        net=net,
        layer=problem.name.removeprefix(f"{net}.") or problem.text,
        multiplicity=problem.multiplicity,
        problem=problem.text,
        direction=problem.direction,
        kernel=plan["kernel"],
        layout=my_layout,
        cnnkern_us=mine.median,
        cnnkern_p10_us=mine.p10,
        cnnkern_p90_us=mine.p90,
        cnnkern_gflops=flops(problem) / mine.median / 1e3,
        torch_layout=torch_layout,
        torch_us=baseline.median,
        torch_p10_us=baseline.p10,
        torch_p90_us=baseline.p90,
        torch_gflops=flops(problem) / baseline.median / 1e3,
        ratio=baseline.median / mine.median,
        samples=mine.samples,
    )


def _check_agreement(problem: Problem, ours: Tensor, theirs: Tensor) -> None:
    ours, theirs = ours.double(), theirs.double()
    error = float((ours - theirs).norm() / theirs.norm().clamp_min(1e-300))
    # tf32 has as many digits as float16.
    if not error <= TOLERANCES[torch.float16 if problem.tf32 else problem.dtype]:
        raise Disagreement(
            f"{problem.text}: cnnkern and PyTorch differ by {error:.1e} of the result's norm"
        )


def _plan_device(device: str) -> str:
    if device == "cpu":
        return "cpu"
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"
