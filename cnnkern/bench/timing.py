"""Wall-clock times of several calls that are to be compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Microseconds a call: median, 10th and 90th percentile of ``samples`` samples."""

    median: float
    p10: float
    p90: float
    samples: int

    def of_one(self, calls: int) -> Timing:
        """For a sample that was of so many calls."""
        return Timing(self.median / calls, self.p10 / calls, self.p90 / calls, self.samples)


def recorded(call: Call, calls: int) -> Call:
    """Replays so many calls from a CUDA graph: what the GPU needs, not what starting it takes.

    The current stream must be no default stream, and what the call differentiates made on it.
    """
    for _ in range(2):
        call()  # cuDNN chooses an algorithm now
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for _ in range(calls):
            call()
    replay: Call = graph.replay
    return replay


def waiter(device: str) -> Call:
    """Waits until the device has finished."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def measure(
    calls: Mapping[str, Call],
    budget: float = 0.25,
    synchronize: Call = lambda: None,
    min_samples: int = 7,
    max_samples: int = 100,
) -> dict[str, Timing]:
    """Times ``calls`` in turns, so that a slow moment of the machine meets all of them.

    Each call is warmed up by itself; a sample repeats a short call until it lasts a millisecond,
    and the order rotates from round to round.

    Args:
        budget: seconds of sampling for each call, as far as ``min_samples`` allow.
        synchronize: waits until the device has finished.
    """
    repeats = {name: _warm_up(call, synchronize) for name, call in calls.items()}
    slowest = max(
        _sample(call, repeats[name], synchronize) * repeats[name] for name, call in calls.items()
    )
    rounds = min(max(round(budget / slowest), min_samples), max_samples)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            samples[name].append(_sample(calls[name], repeats[name], synchronize))
        order.append(order.pop(0))
    return {name: _summarize(values) for name, values in samples.items()}


def _warm_up(call: Call, synchronize: Call) -> int:
    """Two calls, then as many as a sample takes; returns how many that is."""
    _sample(call, 2, synchronize)
    repeats = max(1, min(1000, round(1e-3 / _sample(call, 1, synchronize))))
    _sample(call, repeats, synchronize)
    return repeats


def _sample(call: Call, repeats: int, synchronize: Call) -> float:
    """Seconds a call, after one that is not timed: memory that the allocator has just given back to
    the system costs a page fault every 4 KiB, and would be billed to whoever comes next."""
    call()
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize()
    return (time.perf_counter() - start) / repeats


def _summarize(seconds: list[float]) -> Timing:
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return Timing(
        1e6 * statistics.median(seconds), 1e6 * deciles[0], 1e6 * deciles[-1], len(seconds)
    )
