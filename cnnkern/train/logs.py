"""Where a run's numbers go: a CSV file, TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cnnkern.train.history import Epoch, History


def csv_log(path: str | Path) -> Callable[[History], None]:
    """Writes one row an epoch, the file whole each time: a resumed run repeats no row."""
    path = Path(path)

    def write(history: History) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        with temporary.open("w", newline="") as file:
            rows = csv.DictWriter(file, ["epoch", *Epoch.__dataclass_fields__])
            rows.writeheader()
            for number, epoch in enumerate(history.epochs, start=1):
                rows.writerow({"epoch": number, **asdict(epoch)})
        temporary.replace(path)

    return write


def tensorboard_log(folder: str | Path, history: History) -> Callable[[History], None]:
    """Writes each step's loss and each epoch's numbers; continues after ``history``.

    Raises:
        RuntimeError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RuntimeError(
            "TensorBoard is not installed: pip install 'cnnkern[tensorboard]'"
        ) from error
    steps, epochs = len(history.step_losses), len(history.epochs)
    writer = SummaryWriter(folder)

    def write(history: History) -> None:
        nonlocal steps, epochs
        for step, loss in enumerate(history.step_losses[steps:], start=steps + 1):
            writer.add_scalar("step/loss", loss, step)
        for number, epoch in enumerate(history.epochs[epochs:], start=epochs + 1):
            for name, value in asdict(epoch).items():
                writer.add_scalar(f"epoch/{name}", value, number)
        steps, epochs = len(history.step_losses), len(history.epochs)
        writer.flush()

    return write
