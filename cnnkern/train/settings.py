"""What determines a run, besides the network and the data."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from cnnkern.train.augment import AUGMENTATIONS

Criterion = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Of the softmax's probabilities, against 1 for the true class and 0 for the others."""
    probabilities = logits.softmax(1)
    return F.mse_loss(probabilities, F.one_hot(labels, logits.shape[1]).to(probabilities.dtype))


LOSSES: dict[str, Criterion] = {"cross-entropy": F.cross_entropy, "mse": mean_squared_error}
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("exponential", "cosine", "step", "one-cycle")
PRECISIONS = ("none", "bf16")


@dataclass(frozen=True)
class Settings:
    """What determines a run.

    Args:
        batch_size: samples a step, over all processes together.
        lr: the first learning rate; with ``one-cycle``, the highest.
        decay: by which ``exponential`` multiplies the learning rate after each epoch.
        momentum: of SGD.
        seed: every random choice is a function of it, the epoch and the step.
        epochs: the run's length, over which the schedules other than ``exponential`` stretch.
        loss: ``cross-entropy``, or ``mse`` of the probabilities.
        optimizer: ``sgd`` or ``adamw``.
        schedule: ``exponential``; ``cosine`` down to 0; ``step``, ten times lower after each third
            of the epochs; ``one-cycle`` (up for 30 % of the steps, then down).
        weight_decay: of the optimiser.
        augment: names of :data:`~cnnkern.train.augment.AUGMENTATIONS`.
        amp: ``bf16`` computes in bfloat16 where autocast holds it safe.

    Raises:
        ValueError: a number out of range, or an unknown name.
    """

    batch_size: int = 32
    lr: float = 0.01
    decay: float = 0.9
    momentum: float = 0.9
    seed: int = 0
    epochs: int = 12
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    schedule: str = "exponential"
    weight_decay: float = 0.0
    augment: tuple[str, ...] = ("crop", "translate", "rotate")
    amp: str = "none"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1, but is {self.batch_size}")
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, but are {self.epochs}")
        if not self.lr > 0:
            raise ValueError(f"learning rate must be positive, but is {self.lr}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, but is {self.seed}")
        _require("loss", self.loss, LOSSES)
        _require("optimizer", self.optimizer, OPTIMIZERS)
        _require("schedule", self.schedule, SCHEDULES)
        _require("amp", self.amp, PRECISIONS)
        for name in self.augment:
            _require("augmentation", name, AUGMENTATIONS)

    @property
    def criterion(self) -> Criterion:
        return LOSSES[self.loss]


def _require(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, but is '{name}'")


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD or AdamW over all parameters."""
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


class Schedule:
    """One of torch's schedulers, and whether it goes on after each step or after each epoch."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, settings: Settings, steps_per_epoch: int
    ) -> None:
        steps = settings.epochs * steps_per_epoch
        self._by_step = settings.schedule in ("cosine", "one-cycle")
        self.depends_on_epochs = settings.schedule != "exponential"
        self.scheduler: lr_scheduler.LRScheduler
        if settings.schedule == "cosine":
            self.scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps)
        elif settings.schedule == "one-cycle":
            # One step more, because the scheduler is asked once more after the last step.
            self.scheduler = lr_scheduler.OneCycleLR(
                optimizer, settings.lr, steps + 1, cycle_momentum=False
            )
        elif settings.schedule == "step":
            third = max(settings.epochs // 3, 1)
            self.scheduler = lr_scheduler.StepLR(optimizer, third, gamma=0.1)
        else:
            self.scheduler = lr_scheduler.ExponentialLR(optimizer, settings.decay)

    def after_step(self, ends_epoch: bool) -> None:
        if self._by_step or ends_epoch:
            self.scheduler.step()
