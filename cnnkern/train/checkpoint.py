"""A training run's state at the end of an epoch, in one file."""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cnnkern.train.history import Epoch, History


@dataclass
class Checkpoint:
    """Everything that the rest of the run depends on; the data set is not part of it."""

    settings: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    history: History


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Writes a neighbouring temporary file, then renames: an interruption leaves the old one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        torch.save(asdict(checkpoint), temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Raises ValueError, naming the file, if it is missing or no checkpoint of ours."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        history = state["history"]
        return Checkpoint(
            settings=state["settings"],
            model=state["model"],
            optimizer=state["optimizer"],
            history=History(
                step_losses=history["step_losses"],
                epochs=[Epoch(**epoch) for epoch in history["epochs"]],
            ),
        )
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such checkpoint") from error
    except (KeyError, TypeError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: not a checkpoint of cnnkern's training") from error
