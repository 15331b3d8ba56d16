"""The training loop: SGD with momentum, a learning rate that decays from epoch to epoch.

Every random choice is a function of the seed and the epoch's number, and so is the learning rate.
A run resumed from a checkpoint therefore continues as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.data import Dataset
from cnnkern.models import GoogLeNetOutputs
from cnnkern.train.augment import distort
from cnnkern.train.checkpoint import Checkpoint
from cnnkern.train.history import Epoch, History


@dataclass(frozen=True)
class Settings:
    """What determines a run. ``lr`` is the first epoch's; each epoch multiplies it by ``decay``."""

    batch_size: int = 32
    lr: float = 0.01
    decay: float = 0.9
    momentum: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1, but is {self.batch_size}")
        if not self.lr > 0:
            raise ValueError(f"learning rate must be positive, but is {self.lr}")


@dataclass(frozen=True)
class Evaluation:
    """A network's answers on a set of images: mean loss, predicted classes (N,) int64."""

    loss: float
    predictions: Tensor
    labels: Tensor

    @property
    def accuracy(self) -> float:
        return float((self.predictions == self.labels).double().mean())


class Trainer:
    """Trains ``model`` on ``data``; both are moved to ``device``.

    Create the model after ``torch.manual_seed(settings.seed)`` for a run that the seed determines.
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
        self._train = data.train_images.to(device), data.train_labels.to(device)
        self._test = data.test_images.to(device), data.test_labels.to(device)
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=settings.lr, momentum=settings.momentum
        )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._train[1]) // self.settings.batch_size)

    def run_epoch(self, on_step: Callable[[float], Any] = lambda loss: None) -> Epoch:
        """Trains one epoch, then evaluates; ``on_step`` is told each step's loss."""
        number = len(self.history.epochs)
        images, labels = self._train
        # Order, distortions and dropout all follow the seed and the epoch's number.
        torch.manual_seed(self.settings.seed + number + 1)
        order = torch.randperm(len(labels)).to(labels.device)
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.lr * self.settings.decay**number

        self.model.train()
        loss_sum, correct = 0.0, 0
        for batch in order.split(self.settings.batch_size):
            logits = self.model(distort(images[batch]))
            if isinstance(logits, GoogLeNetOutputs):
                loss, logits = logits.loss(labels[batch]), logits.logits
            else:
                loss = F.cross_entropy(logits, labels[batch])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            step_loss = loss.item()
            self.history.step_losses.append(step_loss)
            loss_sum += step_loss * len(batch)
            correct += int((logits.argmax(1) == labels[batch]).sum())
            on_step(step_loss)

        test = self.evaluate()
        epoch = Epoch(loss_sum / len(labels), correct / len(labels), test.loss, test.accuracy)
        self.history.epochs.append(epoch)
        return epoch

    def evaluate(self) -> Evaluation:
        """On the test set."""
        return evaluate(self.model, *self._test)

    def checkpoint(self) -> Checkpoint:
        """The state after the last finished epoch."""
        return Checkpoint(
            settings=asdict(self.settings),
            model=self.model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            history=self.history,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from ``checkpoint``; raises ValueError if its settings or model are others."""
        for name, value in asdict(self.settings).items():
            if (saved := checkpoint.settings.get(name)) != value:
                raise ValueError(
                    f"the checkpoint was trained with {name}={saved}, but now {name}={value}"
                )
        try:
            self.model.load_state_dict(checkpoint.model)
        except RuntimeError as error:
            raise ValueError("the checkpoint belongs to another model") from error
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self.history = checkpoint.history


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 256) -> Evaluation:
    """Mean cross-entropy and predictions of ``model`` on images (N, C, H, W), labels (N,)."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in images.split(batch_size)])
    return Evaluation(F.cross_entropy(logits, labels).item(), logits.argmax(1).cpu(), labels.cpu())
