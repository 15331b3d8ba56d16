"""The shortest training loop: Adam on whatever loss an experiment has."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from rich.console import Console
from torch import Tensor, nn

from cnnkern.progress import progress_bar


def minimise(
    loss: Callable[[Tensor], Tensor],
    parameters: Iterable[nn.Parameter],
    samples: int,
    epochs: int,
    *,
    lr: float = 1e-3,
    batch_size: int = 64,
    weight_decay: float = 0.0,
    name: str = "training",
) -> None:
    """Adam with a rate that rises and falls once (Smith, 2018), over shuffled batches.

    Args:
        loss: maps the numbers of a batch's samples (B,) int64 to what is to become small.
        parameters: what may change.
        samples: how many there are; each is seen once an epoch.
        epochs, batch_size: of the run.
        lr: the highest learning rate.
        weight_decay: subtracted from the weights, not added to the gradient (AdamW).
        name: shown beside the progress bar.
    """
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    steps = epochs * -(-samples // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    with progress_bar(Console()) as bar:
        task = bar.add_task(name, total=steps)
        for _ in range(epochs):
            for batch in torch.randperm(samples).split(batch_size):
                optimizer.zero_grad()
                loss(batch).backward()
                optimizer.step()
                schedule.step()
                bar.advance(task)
