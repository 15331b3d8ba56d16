"""What a training run leaves behind besides the weights."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set. Losses are means, of the cross-entropy in nats."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    lr: float = 0.0  # learning rate of the last step


@dataclass
class History:
    """``step_losses`` has one entry an optimiser step, ``epochs`` one an epoch."""

    step_losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
