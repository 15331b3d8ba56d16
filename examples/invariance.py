"""What a network does not mind: accuracy against translation, rotation, scale and illumination.

python examples/invariance.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)

LeNet-5 learns the digits twice: as they are, and each time changed at random. Then the held-out
digits are moved, turned, scaled and lit differently, further than in training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import typer
from matplotlib.figure import Figure
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result, on_pixels
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as T

from cnnkern.data import Dataset, load_digits
from cnnkern.models import LeNet5
from cnnkern.train.minimise import minimise
from cnnkern.visualize import BLUE, GREY, ORANGE

BILINEAR = InterpolationMode.BILINEAR


def affine(images: Tensor, angle: float = 0, shift: int = 0, scale: float = 1) -> Tensor:
    """Images turned by degrees, moved to the right by pixels, and scaled; black comes in."""
    return T.affine(images, angle, [shift, 0], scale, [0, 0], interpolation=BILINEAR)


class Change(NamedTuple):
    """A kind of change, ``apply(images, amount)``; training saw amounts between ``seen``'s."""

    apply: Callable[[Tensor, float], Tensor]
    amounts: tuple[float, ...]
    seen: tuple[float, float]
    unit: str


CHANGES = {
    "translation": Change(
        lambda x, amount: affine(x, shift=int(amount)),
        (-10, -8, -6, -4, -2, 0, 2, 4, 6, 8, 10),
        (-6, 6),
        "pixels of 32 to the right",
    ),
    "rotation": Change(
        lambda x, amount: affine(x, angle=amount),
        (-90, -70, -50, -30, -15, 0, 15, 30, 50, 70, 90),
        (-30, 30),
        "degrees clockwise",
    ),
    "scale": Change(
        lambda x, amount: affine(x, scale=amount),
        (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),
        (0.6, 1.4),
        "times the size",
    ),
    "illumination": Change(
        T.adjust_brightness,
        (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0),
        (0.3, 1.7),
        "times the brightness",
    ),
}

AUGMENT = v2.Compose(
    [
        v2.RandomAffine(
            degrees=CHANGES["rotation"].seen,
            translate=(6 / 32, 6 / 32),
            scale=CHANGES["scale"].seen,
            interpolation=BILINEAR,
        ),
        v2.ColorJitter(brightness=CHANGES["illumination"].seen),
    ]
)


def train(data: Dataset, augment: bool, epochs: int, layers: Layers) -> nn.Module:
    """LeNet-5 on pixels, in evaluation mode."""
    torch.manual_seed(0)
    model = on_pixels(LeNet5(layers=layers.namespace), data)
    pixels, labels = data.pixels(data.train_images).clamp(0, 1), data.train_labels

    def loss(batch: Tensor) -> Tensor:
        images = pixels[batch]
        if augment:
            # Four share a change: a call costs more than the pixels.
            images = torch.cat([AUGMENT(four) for four in images.split(4)])
        return cross_entropy(model(images), labels[batch])

    name = "augmented" if augment else "as they are"
    minimise(loss, model.parameters(), len(labels), epochs, lr=3e-3, batch_size=32, name=name)
    return model.eval()


def accuracies(model: nn.Module, change: Change, images: Tensor, labels: Tensor) -> list[float]:
    """One for each of the change's amounts."""
    with torch.no_grad():
        answers = [model(change.apply(images, amount)).argmax(1) for amount in change.amounts]
    return [float((answer == labels).float().mean()) for answer in answers]


def draw(curves: dict[str, list[list[float]]], image: Tensor, path: Path) -> None:
    """Both networks' accuracy against each change, below what the change does to a digit."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    for half, (name, change) in zip(figure.subfigures(2, 2).flat, CHANGES.items()):
        shown = change.amounts[:: 2 if len(change.amounts) > 8 else 1]
        grid = half.add_gridspec(2, len(shown), height_ratios=(1, 3))
        for column, amount in enumerate(shown):
            panel = half.add_subplot(grid[0, column])
            panel.imshow(change.apply(image, amount)[0], cmap="gray", vmin=0, vmax=1)
            panel.set_title(f"{amount:g}", fontsize="small")
            panel.axis("off")
        axes = half.add_subplot(grid[1, :])
        axes.axvspan(*change.seen, color=GREY, alpha=0.12, label="amounts of the augmentation")
        for values, color, label in zip(
            curves[name], (BLUE, ORANGE), ("without augmentation", "with augmentation")
        ):
            percent = [100 * value for value in values]
            axes.plot(change.amounts, percent, color=color, marker="o", markersize=4, label=label)
        axes.set(xlabel=f"{name}: {change.unit}", ylabel="accuracy [%]", ylim=(0, 103))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if name == "illumination":
            axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def main(
    folder: Folder = GALLERY, epochs: Epochs = 25, layers: LayersOption = Layers.cnnkern
) -> dict[str, float]:
    """Trains LeNet-5 with and without augmentation, and changes the held-out digits."""
    result = Result(folder, "invariance", "Kinds of invariance", layers)
    data = load_digits()
    images, labels = data.pixels(data.test_images).clamp(0, 1), data.test_labels
    models = [train(data, augment, epochs, layers) for augment in (False, True)]
    curves = {
        name: [accuracies(model, change, images, labels) for model in models]
        for name, change in CHANGES.items()
    }
    figures = {}
    for name, pair in curves.items():
        for text, values in zip(("without", "with"), pair):
            figures[f"{name}, mean of the curve, {text} augmentation"] = sum(values) / len(values)
    unchanged = CHANGES["rotation"].amounts.index(0)
    for text, values in zip(("without", "with"), curves["rotation"]):
        figures[f"unchanged digits, {text} augmentation"] = values[unchanged]
    draw(curves, images[0], folder / "invariance.png")
    result.write(figures, ["invariance.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
