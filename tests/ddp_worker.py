"""One epoch of LeNet-5 on 70 digits, whose gradients, losses and weights are returned.

As a script it is one process of several: its first argument is the file that process 0 writes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch

from cnnkern.data import load_digits
from cnnkern.models import LeNet5
from cnnkern.train import Settings, Trainer, distributed

# The last of the three batches has one image: the second process has none of it.
IMAGES, BATCH = 67, 33


def run() -> dict[str, Any]:
    data = load_digits()
    data = replace(
        data, train_images=data.train_images[:IMAGES], train_labels=data.train_labels[:IMAGES]
    )
    settings = Settings(batch_size=BATCH)
    torch.manual_seed(0)
    trainer = Trainer(LeNet5(), data, settings)
    gradients: list[torch.Tensor] = []

    def keep(loss: float) -> None:
        parts = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))

    epoch = trainer.run_epoch(keep)
    return {
        "gradients": gradients,
        "losses": trainer.history.step_losses,
        "accuracies": [epoch.train_accuracy, epoch.test_accuracy],
    }


if __name__ == "__main__":
    with distributed.process_group("cpu"):
        result = run()
        if distributed.rank() == 0:
            torch.save(result, sys.argv[1])
