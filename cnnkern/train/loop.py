"""The training loop.

Every random choice is a function of the seed, the epoch, the step and the process: torch, numpy and
Python's random are seeded anew before each step. A run resumed from a checkpoint, between any two
steps, therefore continues as if it had never stopped, and no generator's state needs to be kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.data import Dataset
from cnnkern.models import GoogLeNetOutputs
from cnnkern.train import distributed
from cnnkern.train.augment import Augment
from cnnkern.train.checkpoint import Checkpoint
from cnnkern.train.history import Epoch, History
from cnnkern.train.settings import Criterion, Schedule, Settings, make_optimizer


class Draw(IntEnum):
    """What a random number is for; each purpose has numbers of its own."""

    order = 0
    augmentation = 1
    step = 2


class Stopped(Exception):
    """The run was asked to stop, and did so between two steps."""


@dataclass(frozen=True)
class Evaluation:
    """A network's answers on a set of images: mean loss, predicted classes (N,) int64."""

    loss: float
    predictions: Tensor
    labels: Tensor

    @property
    def accuracy(self) -> float:
        return float((self.predictions == self.labels).double().mean())


@dataclass
class Partial:
    """The unfinished epoch: steps taken, sum of the samples' losses, samples classified rightly."""

    steps: int = 0
    loss: float = 0.0
    correct: int = 0
    lr: float = 0.0  # of the last step


class Trainer:
    """Trains ``model`` on ``data``; ``device`` computes.

    Create the model after ``torch.manual_seed(settings.seed)`` for a run that the seed determines.
    Under ``torchrun`` (:func:`~cnnkern.train.distributed.process_group`) each process takes its
    share of every batch; the gradients are those of the whole batch.

    Raises:
        ValueError: an augmentation does not suit the data.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        settings: Settings,
        device: str | torch.device = "cpu",
    ) -> None:
        self.model = model.to(device)
        self.settings = settings
        self.history = History()
        self.partial = Partial()
        self._data = data
        self._device = torch.device(device)
        self._augment = Augment(settings.augment, data) if settings.augment else None
        self._parallel = distributed.parallel(self.model)
        self._optimizer = make_optimizer(model, settings)
        self._schedule = Schedule(self._optimizer, settings, self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._data.train_labels) // self.settings.batch_size)

    def run_epoch(
        self,
        on_step: Callable[[float], Any] = lambda loss: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Epoch:
        """Trains one epoch, or what is left of it, then evaluates.

        Args:
            on_step: is told each step's loss.
            stop: is asked after each step; if it says so in any process, all stop there.

        Raises:
            Stopped: ``stop`` said so. The next call goes on.
        """
        number, count = len(self.history.epochs), len(self._data.train_labels)
        order = torch.randperm(count, generator=_generator(self._seed(Draw.order)))
        for batch in order.split(self.settings.batch_size)[self.partial.steps :]:
            self.partial.lr = self._optimizer.param_groups[0]["lr"]
            loss, correct, stopping = self._step(batch, stop)
            self.history.step_losses.append(loss)
            self.partial.steps += 1
            self.partial.loss += loss * len(batch)
            self.partial.correct += correct
            on_step(loss)
            if stopping:
                raise Stopped(f"in epoch {number + 1}, after step {self.partial.steps}")

        test = self.evaluate()
        mean, accuracy = self.partial.loss / count, self.partial.correct / count
        epoch = Epoch(mean, accuracy, test.loss, test.accuracy, self.partial.lr)
        self.history.epochs.append(epoch)
        self.partial = Partial()
        return epoch

    def _step(self, batch: Tensor, stop: Callable[[], bool]) -> tuple[float, int, bool]:
        """One optimiser step: the batch's mean loss, how many were right, whether to stop."""
        rank, processes = distributed.rank(), distributed.world_size()
        mine = batch[rank::processes]
        # Every process takes part in every step, if only with a sample that counts nothing.
        share = len(mine) * processes / len(batch)
        if not len(mine):
            mine = batch[:1]
        images, labels = self._data.train_images[mine], self._data.train_labels[mine]
        if self._augment:
            seeds = [self._seed(Draw.augmentation, index) for index in mine.tolist()]
            images = self._augment(images, seeds)
        _seed_everything(self._seed(Draw.step, self.partial.steps, rank))

        self._parallel.train()
        images, labels = images.to(self._device), labels.to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.settings.amp == "bf16"):
            outputs = self._parallel(images)
        loss, logits = _loss(outputs, labels, self.settings.criterion)
        self._optimizer.zero_grad()
        # The gradient's mean over processes becomes the mean over the batch's samples.
        (loss * share).backward()
        self._optimizer.step()
        self._schedule.after_step(ends_epoch=self.partial.steps + 1 == self.steps_per_epoch)

        correct = int((logits.argmax(1) == labels).sum()) if share else 0
        sums = [loss.item() * share / processes, correct, stop()]
        total_loss, total_correct, stopping = distributed.sum_over_processes(sums, self._device)
        return total_loss, int(total_correct), stopping > 0

    def _seed(self, purpose: Draw, *numbers: int) -> int:
        key = (self.settings.seed, len(self.history.epochs), purpose, *numbers)
        return int(np.random.SeedSequence(key).generate_state(1)[0])

    def evaluate(self) -> Evaluation:
        """On the test set; the processes share the work."""
        rank, processes = distributed.rank(), distributed.world_size()
        images, labels = self._data.test_images, self._data.test_labels
        mine = torch.arange(len(labels)).tensor_split(processes)[rank]
        logits = distributed.gather(compute_logits(self.model, images[mine]))
        return _evaluation(logits, labels, self.settings.criterion)

    def checkpoint(self) -> Checkpoint:
        """The state after the last finished step."""
        return Checkpoint(
            settings=asdict(self.settings),
            model=self.model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            scheduler=self._schedule.scheduler.state_dict(),
            history=self.history,
            partial=asdict(self.partial),
            recipe=getattr(self.model, "recipe", None),
            data={
                "name": self._data.name,
                "mean": self._data.mean,
                "std": self._data.std,
                "class_names": self._data.class_names,
                "vocabulary": self._data.vocabulary,
                "train": len(self._data.train_labels),
            },
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from ``checkpoint``.

        Raises:
            ValueError: settings, data or model are others than the checkpoint's.
        """
        for name, value in asdict(self.settings).items():
            if name == "epochs" and not self._schedule.depends_on_epochs:
                continue  # such a run may be prolonged
            if (saved := checkpoint.settings.get(name)) != value:
                raise ValueError(
                    f"the checkpoint was trained with {name}={saved}, but now {name}={value}"
                )
        for name, value in (("name", self._data.name), ("train", len(self._data.train_labels))):
            if (saved := checkpoint.data.get(name)) != value:
                raise ValueError(
                    f"the checkpoint was trained on other data ({name}: {saved}, now {value})"
                )
        try:
            self.model.load_state_dict(checkpoint.model)
        except RuntimeError as error:
            raise ValueError("the checkpoint belongs to another model") from error
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._schedule.scheduler.load_state_dict(checkpoint.scheduler)
        self.history = checkpoint.history
        self.partial = Partial(**checkpoint.partial)


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    batch_size: int = 256,
    criterion: Criterion = F.cross_entropy,
) -> Evaluation:
    """Mean loss and predictions of ``model`` on images (N, C, H, W), labels (N,)."""
    return _evaluation(compute_logits(model, images, batch_size), labels, criterion)


def compute_logits(model: nn.Module, images: Tensor, batch_size: int = 256) -> Tensor:
    """(N, classes) logits in evaluation mode, on the model's device."""
    model.eval()
    device = next((p.device for p in model.parameters()), images.device)
    with torch.no_grad():
        return torch.cat([model(batch.to(device)) for batch in images.split(batch_size)])


def _evaluation(logits: Tensor, labels: Tensor, criterion: Criterion) -> Evaluation:
    logits, labels = logits.cpu().float(), labels.cpu()
    return Evaluation(criterion(logits, labels).item(), logits.argmax(1), labels)


def _loss(outputs: Any, labels: Tensor, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """Loss and logits, in float32 also where autocast computed in bfloat16."""
    if isinstance(outputs, GoogLeNetOutputs):
        outputs = GoogLeNetOutputs(*(logits.float() for logits in outputs))
        return outputs.loss(labels, criterion), outputs.logits
    logits = outputs.float()
    return criterion(logits, labels), logits


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
