"""Several processes that train one network, as ``torchrun`` starts them.

Every function works in a single process too, where it does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")
# After so long a worker that neither answers nor closes its connection counts as lost.
TIMEOUT = timedelta(minutes=5)


class LostWorker(RuntimeError):
    """Another process of the job went away."""


def rank() -> int:
    """This process's number, 0 if it is the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the group that torchrun's variables describe, if it started this process.

    Yields the device of this process: GPUs are handed out by its number on the machine. The group
    talks by NCCL on GPUs, else by Gloo.
    """
    if not dist.is_torchelastic_launched():
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def parallel(model: nn.Module) -> nn.Module:
    """``model``, whose gradients become means over all processes."""
    return DistributedDataParallel(model) if dist.is_initialized() else model


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """Each process's values, added up."""
    if not dist.is_initialized():
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes one below the other, on the CPU; each may have other numbers."""
    if not dist.is_initialized():
        return rows.cpu()
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, rows.cpu())
    return torch.cat(parts)


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns or raises in process 0, in every process."""
    if not dist.is_initialized():
        return make()
    result: list[Any] = [None, None]
    if rank() == 0:
        try:
            result[0] = make()
        except (ValueError, OSError) as error:
            result[1] = error
    dist.broadcast_object_list(result)
    value, failure = result
    if failure is not None:
        raise failure
    made: T = value
    return made


@contextmanager
def naming_lost_workers() -> Iterator[None]:
    """Turns the errors of a broken connection into :class:`LostWorker`."""
    try:
        yield
    except RuntimeError as error:
        # Gloo has no exception of its own, but names its source file.
        if isinstance(error, dist.DistError) or (dist.is_initialized() and "gloo" in str(error)):
            raise LostWorker(f"process {rank()} of {world_size()} lost another one") from error
        raise
