"""Training with a progress bar on the terminal, checkpoints, logs and signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from cnnkern.progress import progress_bar
from cnnkern.train import distributed
from cnnkern.train.checkpoint import save_checkpoint
from cnnkern.train.history import History
from cnnkern.train.loop import Stopped, Trainer


def fit(
    trainer: Trainer,
    epochs: int,
    console: Console,
    on_epoch: Callable[[], Any] = lambda: None,
    checkpoint: str | Path | None = None,
    logs: Sequence[Callable[[History], Any]] = (),
) -> None:
    """Trains until ``epochs`` epochs are done, also those of a resumed run counted.

    One line an epoch is printed; ``on_epoch`` is called after each. SIGINT and SIGTERM let the step
    under way finish; a second one ends the process at once. Of several processes, the first prints,
    logs and writes the checkpoint.

    Args:
        checkpoint: a file written after each epoch and when a signal stops the run.
        logs: called with the history after each epoch.

    Raises:
        Stopped: a signal came; the message says where the run stopped and how to go on.
        LostWorker: another process went away; the last checkpoint stands.
    """
    first = distributed.rank() == 0

    def save() -> None:
        if checkpoint and first:
            save_checkpoint(checkpoint, trainer.checkpoint())

    done, steps = len(trainer.history.epochs), trainer.steps_per_epoch
    with progress_bar(console) as bar, _signals() as stop:
        completed = done * steps + trainer.partial.steps
        task = bar.add_task("training", total=epochs * steps, completed=completed)
        for number in range(done + 1, epochs + 1):
            bar.update(task, description=f"epoch {number}/{epochs}")
            try:
                with distributed.naming_lost_workers():
                    epoch = trainer.run_epoch(lambda _: bar.advance(task), stop)
            except Stopped as stopped:
                save()
                raise Stopped(f"stopped {stopped}; {_way_on(checkpoint)}") from None
            except distributed.LostWorker as lost:
                message = f"{lost} in epoch {number}; {_way_on(checkpoint)}"
                raise distributed.LostWorker(message) from lost
            bar.print(
                f"epoch {number:3}   loss {epoch.train_loss:.4f}, held out {epoch.test_loss:.4f}"
                f"   held-out accuracy [bold]{epoch.test_accuracy:.2%}[/]",
                highlight=False,
            )
            save()
            if first:
                for log in logs:
                    log(trainer.history)
            on_epoch()


def _way_on(checkpoint: str | Path | None) -> str:
    if checkpoint is None:
        return "nothing was saved, for want of a checkpoint file"
    return f"--resume {checkpoint} goes on"


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether SIGINT or SIGTERM came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set  # Python hands signals to the main thread only
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def note(kind: int, frame: FrameType | None) -> None:
        came.set()
        restore()

    for kind in kinds:
        signal.signal(kind, note)
    try:
        yield came.is_set
    finally:
        restore()
