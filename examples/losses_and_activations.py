"""The lecture's comparisons: cross-entropy or squared error, ReLU, tanh or sigmoid.

python examples/losses_and_activations.py [FOLDER]    (out/gallery if not given)

LeNet-5 learns the same digits from the same seed six times; nothing but the loss and the
activation differs. Losses of two kinds cannot be compared, so the curves are accuracies.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from rich.console import Console

from cnnkern.data import Dataset, load_digits
from cnnkern.models import LeNet5
from cnnkern.train import History, Settings, Trainer, fit
from cnnkern.visualize import compare_runs

EPOCHS = 12
LOSSES = ("cross-entropy", "mse")
ACTIVATIONS = ("relu", "tanh", "sigmoid")


def compare(data: Dataset, epochs: int, console: Console) -> dict[str, dict[str, History]]:
    """The history of each activation, for each loss."""
    runs: dict[str, dict[str, History]] = {}
    for loss in LOSSES:
        for activation in ACTIVATIONS:
            console.print(f"[bold]{loss}, {activation}[/]")
            settings = Settings(epochs=epochs, loss=loss)
            torch.manual_seed(settings.seed)
            trainer = Trainer(LeNet5(activation=activation), data, settings)
            fit(trainer, epochs, console)
            runs.setdefault(loss, {})[activation] = trainer.history
    return runs


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/gallery")
    runs = compare(load_digits(), EPOCHS, Console())
    print(f"wrote {compare_runs(runs, folder / 'losses_and_activations.png')}")
