"""What the examples have in common: their options, a LeNet-5 that reads digits, their result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import nn
from torchvision.transforms.v2 import Normalize

import cnnkern
from cnnkern.data import Dataset, NotInstalledError, load
from cnnkern.gallery import write_result
from cnnkern.models import create
from cnnkern.train import Settings, Trainer, fit

GALLERY = Path("out/gallery")


class Layers(str, Enum):
    """On whose layers a network trains: ``--layers torch`` gives the same figures within noise."""

    cnnkern = "cnnkern"
    torch = "torch"

    @property
    def namespace(self) -> ModuleType:
        return cnnkern if self is Layers.cnnkern else nn


Folder = Annotated[Path, typer.Argument(help="Where pictures and figures go.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training set.")]
LayersOption = Annotated[Layers, typer.Option(help="Whose layers compute.")]


def load_installed(source: str) -> Dataset:
    """The data set; where its package is not installed, the program ends with that sentence."""
    try:
        return load(source)
    except NotInstalledError as missing:
        Console().print(f"nothing to do: {missing}", highlight=False, soft_wrap=True)
        raise typer.Exit from missing


def make_trainer(name: str, data: Dataset, settings: Settings, layers: Layers) -> Trainer:
    """The network ``create(name)`` for ``data``; the seed alone determines its weights."""
    torch.manual_seed(settings.seed)
    model = create(
        name, num_classes=data.classes, in_channels=data.channels, layers=layers.namespace
    )
    return Trainer(model, data, settings)


def train(name: str, data: Dataset, settings: Settings, layers: Layers) -> Trainer:
    """The same, trained and ready to answer: ``.model`` and ``.history``."""
    trainer = make_trainer(name, data, settings, layers)
    fit(trainer, settings.epochs, Console())
    trainer.model.eval()
    return trainer


def train_lenet5(data: Dataset, epochs: int, layers: Layers) -> Trainer:
    """LeNet-5, trained from seed 0 with the settings that ``cnnkern train`` has by itself."""
    return train("lenet5", data, Settings(seed=0, epochs=epochs), layers)


def on_pixels(model: nn.Module, data: Dataset) -> nn.Module:
    """The same network, for images from 0 to 1 instead of normalised ones."""
    return nn.Sequential(Normalize(data.mean.tolist(), data.std.tolist()), model)


class Result:
    """Times an example from here on; :meth:`write` leaves its page of the gallery."""

    def __init__(self, folder: Path, stem: str, title: str, layers: Layers) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        option = "" if layers is Layers.cnnkern else f" --layers {layers.value}"
        self.folder, self.stem, self.title = folder, stem, title
        self.command = f"python examples/{stem}.py{option}"
        self.start = time.perf_counter()

    def write(self, figures: Mapping[str, float], pictures: Sequence[str]) -> None:
        seconds = time.perf_counter() - self.start
        for name, value in figures.items():
            Console().print(f"{name:44} [bold]{value:.4g}[/]", highlight=False)
        write_result(self.folder, self.stem, self.title, self.command, seconds, figures, pictures)
