"""A training run's state between two steps, in one file."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cnnkern.train.history import Epoch, History


@dataclass
class Checkpoint:
    """Everything that the rest of the run, or a prediction, depends on.

    The data set itself is not part of it; ``data`` has its name, classes, normalisation and
    vocabulary. ``recipe`` is the name and the arguments of a network of the registry, ``partial``
    how far the last epoch came.
    """

    settings: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    history: History
    scheduler: dict[str, Any] = field(default_factory=dict)
    partial: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Writes a neighbouring temporary file, then renames: an interruption leaves the old one.

    Both steps are on the disk before this returns, so a power cut leaves one or the other too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")  # one name: what a kill leaves, the next takes
    try:
        torch.save(asdict(checkpoint), temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Raises ValueError, naming the file, if it is missing, damaged or no checkpoint of ours."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a checkpoint of cnnkern's training") from error
    if damaged:
        raise ValueError(f"{path}: the checkpoint is damaged ({damaged} has a wrong checksum)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = state.pop("history")
        epochs = [Epoch(**epoch) for epoch in history["epochs"]]
        return Checkpoint(history=History(history["step_losses"], epochs), **state)
    except Exception as error:  # whatever reading another program's file may raise
        raise ValueError(f"{path}: not a checkpoint of cnnkern's training") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
