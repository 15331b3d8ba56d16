"""The same training on cnnkern's layers and on torch.nn's: the same accuracy, and how fast.

python examples/layers_compared.py [FOLDER] [--epochs N]    (out/gallery if not given)

Both networks of a pair have the same seed, so the same initial weights, the same data in the same
order and the same dropout; they part by rounding alone. Their epochs take turns in one process, so
that whatever else the machine does slows both. Without augmentation, a step is the network's work.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import chain, pairwise
from statistics import median

import torch
import typer
from rich.console import Console
from shared import GALLERY, Epochs, Folder, Layers, Result, make_trainer

from cnnkern.data import Dataset, load_digits
from cnnkern.progress import progress_bar
from cnnkern.train import Settings, Trainer
from cnnkern.visualize import compare_runs

NETWORKS = {"LeNet-5": "lenet5", "GoogLeNet": "googlenet_small"}
EARLY = 5  # steps after which rounding has not yet grown into another run


@dataclass
class Run:
    """A network in training, and the seconds that each step of each epoch took."""

    trainer: Trainer
    step_seconds: list[list[float]] = field(default_factory=list)

    def epoch(self) -> None:
        ends = [time.perf_counter()]
        self.trainer.run_epoch(lambda loss: ends.append(time.perf_counter()))
        self.step_seconds.append([end - start for start, end in pairwise(ends)])

    @property
    def images_per_second(self) -> float:
        return self.trainer.settings.batch_size / median(chain(*self.step_seconds))


def train_pair(name: str, data: Dataset, settings: Settings) -> tuple[Run, Run]:
    """The network on our layers, and on torch.nn's; who goes first changes with each epoch."""
    ours, theirs = (Run(make_trainer(name, data, settings, kind)) for kind in Layers)
    with progress_bar(Console()) as bar:
        for number in bar.track(range(settings.epochs), description=name):
            for run in (ours, theirs) if number % 2 else (theirs, ours):
                run.epoch()
    return ours, theirs


def compare(title: str, ours: Run, theirs: Run, held_out: int) -> dict[str, float]:
    """The figures of a pair."""
    right, their_right = (run.trainer.history.epochs[-1].test_accuracy for run in (ours, theirs))
    losses, their_losses = (run.trainer.history.step_losses[:EARLY] for run in (ours, theirs))
    apart = max(abs(a / b - 1) for a, b in zip(losses, their_losses, strict=True))
    ratios = [median(b) / median(a) for a, b in zip(ours.step_seconds, theirs.step_seconds)]
    return {
        f"{title}: accuracy": right,
        f"{title}: accuracy on torch.nn": their_right,
        f"{title}: standard error of the latter": math.sqrt(
            their_right * (1 - their_right) / held_out
        ),
        f"{title}: losses of the first {EARLY} steps, apart by": apart,
        f"{title}: images a second": ours.images_per_second,
        f"{title}: images a second on torch.nn": theirs.images_per_second,
        f"{title}: speed in times torch.nn's, median of the epochs": median(ratios),
    }


def main(folder: Folder = GALLERY, epochs: Epochs = 6) -> dict[str, float]:
    """Trains each network twice on handwritten digits, and compares."""
    result = Result(folder, "layers_compared", "Our layers and torch.nn's", Layers.cnnkern)
    data = load_digits()
    settings = Settings(
        lr=0.002, optimizer="adamw", schedule="one-cycle", epochs=epochs, augment=()
    )
    figures: dict[str, float] = {"threads": torch.get_num_threads()}
    curves = {}
    for title, name in NETWORKS.items():
        ours, theirs = train_pair(name, data, settings)
        figures |= compare(title, ours, theirs, len(data.test_labels))
        curves[title] = {"cnnkern": ours.trainer.history, "torch.nn": theirs.trainer.history}
    compare_runs(curves, folder / "layers_compared.png")
    result.write(figures, ["layers_compared.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
