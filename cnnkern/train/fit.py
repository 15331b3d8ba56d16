"""Training with a progress bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from cnnkern.progress import progress_bar
from cnnkern.train.loop import Trainer


def fit(
    trainer: Trainer,
    epochs: int,
    console: Console,
    on_epoch: Callable[[], Any] = lambda: None,
) -> None:
    """Trains until ``epochs`` epochs are done, also those of a resumed run counted.

    One line an epoch is printed; ``on_epoch`` is called after each.
    """
    done = len(trainer.history.epochs)
    with progress_bar(console) as bar:
        steps = trainer.steps_per_epoch
        task = bar.add_task("training", total=epochs * steps, completed=done * steps)
        for number in range(done + 1, epochs + 1):
            bar.update(task, description=f"epoch {number}/{epochs}")
            epoch = trainer.run_epoch(on_step=lambda _: bar.advance(task))
            bar.print(
                f"epoch {number:3}   loss {epoch.train_loss:.4f}, held out {epoch.test_loss:.4f}"
                f"   held-out accuracy [bold]{epoch.test_accuracy:.2%}[/]",
                highlight=False,
            )
            on_epoch()
