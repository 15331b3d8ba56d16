"""Trains a network on a data set, repeatably: same seed, same curve, also after a resume."""

from cnnkern.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnnkern.train.fit import fit
from cnnkern.train.history import Epoch, History
from cnnkern.train.loop import Evaluation, Settings, Trainer, evaluate

__all__ = [
    "Checkpoint",
    "Epoch",
    "Evaluation",
    "History",
    "Settings",
    "Trainer",
    "evaluate",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
]
