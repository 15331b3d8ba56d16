"""With which classes a network confuses each class: LeNet-5 on handwritten digits.

python examples/confusion_sets.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result, train_lenet5
from torch import Tensor, nn

from cnnkern.data import Dataset, load_digits
from cnnkern.train import probabilities as softmax
from cnnkern.visualize import BLUE, GREY, ORANGE

TOP = 3  # answers shown for an image
COVER = 0.8  # of the probability that goes to wrong classes, the share of a confusion set


@dataclass(frozen=True)
class Confusions:
    """``mean`` (K, K): the mean softmax of the images of each class; ``right`` (K,): accuracy."""

    mean: Tensor
    right: Tensor
    sets: list[list[int]]


def confusions(probabilities: Tensor, labels: Tensor) -> Confusions:
    """Of each class: the fewest others that hold ``COVER`` of the wrongly placed probability.

    Args:
        probabilities: (N, K) softmax of the network's logits.
        labels: (N,) int64, the true classes; each of the K occurs.
    """
    classes = range(probabilities.shape[1])
    mean = torch.stack([probabilities[labels == k].mean(0) for k in classes])
    hits = (probabilities.argmax(1) == labels).float()
    right = torch.stack([hits[labels == k].mean() for k in classes])
    sets = []
    for truth in classes:
        wrong = mean[truth].clone()
        wrong[truth] = 0
        share, order = (wrong / wrong.sum()).sort(descending=True)
        enough = int((share.cumsum(0) < COVER).sum()) + 1
        sets.append(order[:enough].tolist())
    return Confusions(mean, right, sets)


def top_k_accuracy(probabilities: Tensor, labels: Tensor, k: int) -> float:
    """How often the truth is among the ``k`` most probable classes."""
    return float((probabilities.topk(k).indices == labels[:, None]).any(1).float().mean())


def print_table(found: Confusions, names: Sequence[str], console: Console) -> None:
    table = Table(title="Confusion sets: the fewest classes with 80 % of what goes astray")
    for heading in ("class", "right", "most confused with (mean softmax)"):
        table.add_column(heading)
    for truth, others in enumerate(found.sets):
        text = ", ".join(f"{names[other]} ({found.mean[truth, other]:.2%})" for other in others)
        table.add_row(names[truth], f"{found.right[truth]:.1%}", text)
    console.print(table)


def draw_heat_map(found: Confusions, names: Sequence[str], path: Path) -> None:
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    axes = figure.subplots()
    colors = axes.imshow(found.mean, cmap="Oranges", norm=LogNorm(1e-4, 1, clip=True))
    for truth, others in enumerate(found.sets):
        for other in others:
            axes.text(
                other, truth, f"{100 * found.mean[truth, other]:.2f}", ha="center", va="center"
            )
    axes.set(xlabel="class", ylabel="truth")
    axes.set_xticks(range(len(names)), names, rotation=45 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(range(len(names)), names)
    axes.set_title("Mean softmax; in figures [%]: each class's confusion set")
    figure.colorbar(colors, ax=axes)
    figure.savefig(path, dpi=110)


def draw_answers(data: Dataset, probabilities: Tensor, path: Path) -> None:
    """The eight least certain held-out images, with their most probable classes."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    pixels = data.pixels(data.test_images)
    for column, index in enumerate(probabilities.amax(1).argsort()[:8].tolist()):
        picture, bars = (
            figure.add_subplot(4, 4, 8 * (column // 4) + column % 4 + r) for r in (1, 5)
        )
        truth = int(data.test_labels[index])
        picture.imshow(pixels[index, 0], cmap="gray")
        picture.set(title=f"truth: {data.class_names[truth]}", xticks=[], yticks=[])
        values, classes = probabilities[index].topk(TOP)
        colors = [BLUE if k == truth else ORANGE for k in classes.tolist()]
        bars.barh([data.class_names[k] for k in classes.tolist()], values, color=colors)
        bars.set(xlim=(0, 1), xticks=[0, 1])
        bars.invert_yaxis()
        bars.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"The least certain answers: top {TOP} of the softmax", color=GREY)
    figure.savefig(path, dpi=110)


def show(model: nn.Module, data: Dataset, result: Result) -> dict[str, float]:
    """The table, the pictures and the figures of a trained network."""
    probabilities = softmax(model, data.test_images)
    found = confusions(probabilities, data.test_labels)
    print_table(found, data.class_names, Console())
    pictures = [f"{result.stem}.png", f"{result.stem}_answers.png"]
    draw_heat_map(found, data.class_names, result.folder / pictures[0])
    draw_answers(data, probabilities, result.folder / pictures[1])
    figures = {
        "held-out accuracy": top_k_accuracy(probabilities, data.test_labels, 1),
        f"truth among the first {TOP}": top_k_accuracy(probabilities, data.test_labels, TOP),
        "classes in a confusion set, mean": sum(map(len, found.sets)) / len(found.sets),
    }
    result.write(figures, pictures)
    return figures


def main(
    folder: Folder = GALLERY, epochs: Epochs = 20, layers: LayersOption = Layers.cnnkern
) -> dict[str, float]:
    """Trains LeNet-5 and shows which digits it confuses."""
    result = Result(folder, "confusion_sets", "Image classification and confusion sets", layers)
    data = load_digits()
    return show(train_lenet5(data, epochs, layers).model, data, result)


if __name__ == "__main__":
    typer.run(main)
