"""What ``make demo`` shows: LeNet-5 learns handwritten digits, then layers race PyTorch's."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from cnnkern import bench, visualize
from cnnkern.data import load_digits
from cnnkern.models import LeNet5
from cnnkern.train import Settings, Trainer, fit

EPOCHS = 12


def run(folder: Path, console: Console) -> None:
    """Trains, benchmarks, and leaves pictures in ``folder``."""
    start = time.perf_counter()
    console.rule("LeNet-5 learns handwritten digits")
    settings = Settings()
    data = load_digits(settings.seed)
    torch.manual_seed(settings.seed)
    trainer = Trainer(LeNet5(), data, settings)
    fit(trainer, EPOCHS, console)
    trained = time.perf_counter()
    pictures = visualize.write_all(trainer, data, folder)

    console.rule("Layers against PyTorch")
    rows = bench.run_with_progress(bench.resolve("demo")[1], "demo", "cpu", 0.15, console)
    console.print(bench.ratio_table(rows))
    bench.append_rows(folder / "benchmark.csv", rows)
    pictures.append(bench.draw_ratios([rows], folder / "benchmark.png"))

    accuracy = trainer.history.epochs[-1].test_accuracy
    result = Table.grid(padding=(0, 2))
    result.add_row("held-out accuracy", f"[bold green]{accuracy:.2%}[/]")
    result.add_row("training", f"{EPOCHS} epochs in {trained - start:.0f} s")
    result.add_row("everything", f"{time.perf_counter() - start:.0f} s")
    for picture in pictures:
        result.add_row("picture", str(picture))
    console.print(Panel(result, title="cnnkern demo", expand=False))
