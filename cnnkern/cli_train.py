"""The commands ``cnnkern train`` and ``cnnkern predict``."""

from __future__ import annotations

import csv
import signal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cnnkern.cli_options import Device, TensorDevice, require

if TYPE_CHECKING:
    from torch import Tensor

    from cnnkern.data import Dataset
    from cnnkern.models import Model
    from cnnkern.train import Settings


class Backend(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    emulator = "emulator"


class LayerKind(str, Enum):
    cnnkern = "cnnkern"
    torch = "torch"


TASKS = ("classification", "text classification")

ModelName = Annotated[str, typer.Option(help="A network for classification (cnnkern models).")]
Data = Annotated[
    str,
    typer.Option(
        help="digits, fashion-mnist, opencv-digits, or a path: IDX files, pictures or texts by "
        "class."
    ),
]
Epochs = Annotated[int, typer.Option(min=1, help="Epochs, those of a resumed run included.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples a step, of all processes together.")]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate; by default 0.01, for adamw 0.001.")
]
Loss = Annotated[str, typer.Option(help="cross-entropy, or mse of the probabilities.")]
Optimizer = Annotated[str, typer.Option(help="sgd (momentum 0.9) or adamw.")]
ScheduleName = Annotated[str, typer.Option(help="exponential, cosine, step or one-cycle.")]
WeightDecay = Annotated[float, typer.Option(help="Weight decay.")]
Amp = Annotated[str, typer.Option(help="bf16 computes in bfloat16 where that is safe; or none.")]
Augmentations = Annotated[
    list[str] | None,
    typer.Option(
        help="crop, translate, mirror, rotate, photometric, or none; repeat for several. "
        "By default crop, translate and rotate for pictures."
    ),
]
Activation = Annotated[str | None, typer.Option(help="lenet5's: relu, tanh or sigmoid.")]
Init = Annotated[str | None, typer.Option(help="Weights: he, xavier, normal or orthogonal.")]
LayersOption = Annotated[LayerKind, typer.Option(help="Whose layers: cnnkern's or torch.nn's.")]
Seed = Annotated[int, typer.Option(help="Determines every random choice.")]
CheckpointFile = Annotated[
    Path | None, typer.Option(help="File written after each epoch, and when a signal comes.")
]
ResumeFile = Annotated[Path | None, typer.Option(help="Checkpoint to go on from.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Table of the epochs.")]
TensorBoardFolder = Annotated[
    Path | None, typer.Option("--tensorboard", help="Folder of a TensorBoard log.")
]
BackendOption = Annotated[Backend, typer.Option(help="Which kernels run.")]
Pictures = Annotated[Path | None, typer.Option(help="Folder for pictures of the result.")]


def train(
    model: ModelName = "lenet5",
    data: Data = "digits",
    epochs: Epochs = 12,
    batch_size: BatchSize = 32,
    lr: LearningRate = None,
    loss: Loss = "cross-entropy",
    optimizer: Optimizer = "sgd",
    schedule: ScheduleName = "exponential",
    weight_decay: WeightDecay = 0.0,
    amp: Amp = "none",
    augment: Augmentations = None,
    activation: Activation = None,
    init: Init = None,
    layers: LayersOption = LayerKind.cnnkern,
    seed: Seed = 0,
    checkpoint: CheckpointFile = None,
    resume: ResumeFile = None,
    csv_file: CsvFile = None,
    tensorboard: TensorBoardFolder = None,
    device: TensorDevice = Device.cpu,
    backend: BackendOption = Backend.auto,
    out: Pictures = None,
) -> None:
    """Trains a network on pictures or texts by class; also under torchrun, in several processes."""
    from cnnkern.data import load
    from cnnkern.models import model_class
    from cnnkern.train import Settings
    from cnnkern.train.distributed import process_group

    require(device)
    if (task := model_class(model).task) not in TASKS:
        raise ValueError(f"train: {model} is a network for {task}, not for classification")
    reads_texts = task == "text classification"
    if augment is None:
        chosen = () if reads_texts else Settings.augment
    else:
        chosen = tuple(name for name in augment if name != "none")
    settings = Settings(
        batch_size=batch_size,
        lr=lr if lr is not None else (0.001 if optimizer == "adamw" else 0.01),
        seed=seed,
        epochs=epochs,
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        weight_decay=weight_decay,
        augment=chosen,
        amp=amp,
    )
    dataset = load(data, _input_size(model), seed)
    if bool(dataset.vocabulary) != reads_texts:
        held, read = ("texts", "pictures") if dataset.vocabulary else ("pictures", "texts")
        raise ValueError(f"train: {data} holds {held}, but {model} reads {read}")
    with process_group(device.value) as own_device:
        network = _create(model, dataset, settings, activation, init, layers)
        _run(
            network, dataset, settings, own_device, backend,
            checkpoint, resume, csv_file, tensorboard, out,
        )  # fmt: skip


def _run(
    network: Model,
    dataset: Dataset,
    settings: Settings,
    device: str,
    backend: Backend,
    checkpoint: Path | None,
    resume: Path | None,
    csv_file: Path | None,
    tensorboard: Path | None,
    out: Path | None,
) -> None:
    import cnnkern
    from cnnkern.train import (
        Stopped,
        Trainer,
        csv_log,
        distributed,
        fit,
        load_checkpoint,
        tensorboard_log,
    )

    first = distributed.rank() == 0
    console = Console(quiet=not first)
    trainer = Trainer(network, dataset, settings, device)
    if resume:
        trainer.resume(distributed.from_first(lambda: load_checkpoint(resume)))
        if (done := len(trainer.history.epochs)) >= settings.epochs:
            raise ValueError(f"{resume} has {done} epochs already; ask for more with --epochs")
    logs: list[Any] = [csv_log(csv_file)] if csv_file else []
    if tensorboard and first:
        logs.append(tensorboard_log(tensorboard, trainer.history))
    with cnnkern.backend(backend.value):
        try:
            fit(trainer, settings.epochs, console, checkpoint=checkpoint, logs=logs)
        except Stopped as stopped:
            console.print(f"cnnkern: {stopped}", highlight=False, soft_wrap=True)
            raise typer.Exit(128 + signal.SIGTERM) from stopped
        accuracy = trainer.history.epochs[-1].test_accuracy
        console.print(f"[bold]{accuracy:.2%}[/] of what was held out is classified rightly")
        if out and first and not dataset.vocabulary:
            from cnnkern.visualize import write_all

            for path in write_all(trainer, dataset, out):
                console.print(f"wrote {path}", highlight=False)


def _input_size(model: str) -> int:
    """Pixels a side, or words, that the network is made for."""
    import torch

    from cnnkern.models import create

    with torch.device("meta"):
        return create(model).input_shape[-1]


def _create(
    model: str,
    dataset: Dataset,
    settings: Settings,
    activation: str | None,
    init: str | None,
    layers: LayerKind,
) -> Model:
    import torch

    from cnnkern.models import create, initialise

    arguments: dict[str, Any] = {"num_classes": dataset.classes}
    if dataset.vocabulary:
        arguments["vocabulary"] = len(dataset.vocabulary) + 2  # padding, unknown words
    else:
        arguments["in_channels"] = dataset.channels
    if activation:
        if model != "lenet5":
            raise ValueError(f"train: --activation goes with lenet5, not with {model}")
        arguments["activation"] = activation
    torch.manual_seed(settings.seed)
    kind = torch.nn if layers is LayerKind.torch else None
    network = create(model, layers=kind, **arguments)
    if init:
        initialise(network, init)
    return network


CheckpointArgument = Annotated[Path, typer.Argument(help="What cnnkern train wrote.")]
Inputs = Annotated[
    list[Path], typer.Argument(help="Pictures, folders of them, or files with a text in each line.")
]
Average = Annotated[
    str, typer.Option(help="five-crop or ten-crop: the mean over crops, or crops and mirrors.")
]
Top = Annotated[int, typer.Option(min=1, help="Classes shown for each input.")]
Answers = Annotated[Path | None, typer.Option("--csv", help="File for all probabilities.")]


def predict(
    checkpoint: CheckpointArgument,
    inputs: Inputs,
    average: Average = "none",
    top: Top = 3,
    csv_file: Answers = None,
    layers: LayersOption = LayerKind.cnnkern,
    device: TensorDevice = Device.cpu,
) -> None:
    """Classifies pictures or texts with a trained network."""
    import torch

    from cnnkern.train import load_predictor

    require(device)
    kind = torch.nn if layers is LayerKind.torch else None
    predictor = load_predictor(checkpoint, kind, device.value)
    if predictor.vocabulary:
        if average != "none":
            raise ValueError(f"predict: --average {average} is for pictures")
        names = [line for file in inputs for line in file.read_text().splitlines() if line.strip()]
        answers = predictor.texts(names) if names else torch.empty(0)
    else:
        files = [file for path in inputs for file in _pictures(path)]
        names = list(map(str, files))
        answers = predictor.images(files, average) if files else torch.empty(0)
    if not names:
        raise ValueError("predict: there is nothing to classify in " + ", ".join(map(str, inputs)))
    _show(names, answers, predictor.class_names, top)
    if csv_file:
        with csv_file.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["input", *predictor.class_names])
            for name, row in zip(names, answers.tolist(), strict=True):
                rows.writerow([name, *row])


def _pictures(path: Path) -> list[Path]:
    from torchvision.datasets.folder import is_image_file

    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if is_image_file(file.name))


def _show(names: list[str], answers: Tensor, class_names: tuple[str, ...], top: int) -> None:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("input", overflow="fold")
    table.add_column("class and confidence")
    values, places = answers.topk(min(top, len(class_names)))
    for name, row, order in zip(names, values.tolist(), places.tolist(), strict=True):
        words = (f"{class_names[place]} {value:.1%}" for place, value in zip(order, row))
        table.add_row(name, ", ".join(words))
    Console(width=max(Console().width, 100)).print(table)
