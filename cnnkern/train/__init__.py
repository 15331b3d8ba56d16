"""Trains a network on a data set, repeatably: same seed, same curve, also after a resume."""

from cnnkern.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from cnnkern.train.fit import fit
from cnnkern.train.history import Epoch, History
from cnnkern.train.logs import csv_log, tensorboard_log
from cnnkern.train.loop import Evaluation, Stopped, Trainer, evaluate
from cnnkern.train.predict import Predictor, load_predictor, probabilities
from cnnkern.train.settings import Settings

__all__ = [
    "Checkpoint",
    "Epoch",
    "Evaluation",
    "History",
    "Predictor",
    "Settings",
    "Stopped",
    "Trainer",
    "csv_log",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_predictor",
    "probabilities",
    "save_checkpoint",
    "tensorboard_log",
]
