"""FCN-8s and U-Net say of every pixel of a landscape what it is.

python examples/scene_labelling.py [FOLDER] [--steps N] [--layers torch]    (out/gallery)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from shared import GALLERY, Folder, Layers, LayersOption, Result
from torch import Tensor
from torch.nn import functional as F

from cnnkern.data.scenes import REGIONS, Landscapes
from cnnkern.models import FCN8s, Model, UNet
from cnnkern.train.minimise import minimise

BATCH = 16
PATIENCE = 3  # times as many steps for FCN-8s, which is as much faster and learns as much slower
COLOURS = ("#9ecae1", "#2f6fb0", "#6b7280", "#c0392b", "#3f8f3f")


def train(net: Model, steps: int, name: str) -> None:
    """Shows ``net`` that many batches of landscapes, none twice."""
    scenes = Landscapes(steps * BATCH)

    def loss(numbers: Tensor) -> Tensor:
        images, labels = scenes.batch(numbers)
        return F.cross_entropy(net(centred(images)), labels)

    minimise(loss, net.parameters(), len(scenes), 1, lr=2e-3, batch_size=BATCH, name=name)
    net.eval()


def centred(images: Tensor) -> Tensor:
    """Images from 0 to 1 as a network without normalisation likes them: about 0, of variance 1."""
    return (images - 0.5) / 0.25


def intersection_over_union(predicted: Tensor, labels: Tensor) -> Tensor:
    """(regions,): pixels that are in a region and are said to be, over those that either is true.

    Args:
        predicted, labels: (N, H, W) int64.
    """
    count = len(REGIONS)
    confusion = (labels * count + predicted).flatten().bincount(minlength=count**2)
    confusion = confusion.view(count, count).double()
    right = confusion.diagonal()
    return right / (confusion.sum(0) + confusion.sum(1) - right)


def draw(images: Tensor, labels: Tensor, predicted: dict[str, Tensor], path: Path) -> None:
    """A column a scene: the image, under its true labels, and under those of each network."""
    colours = ListedColormap(COLOURS)
    rows = {"image": None, "truth": labels, **predicted}
    figure = Figure(figsize=(12, 1.5 * len(rows) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), 8)
    for line, (name, row) in zip(grid, rows.items()):
        for axes, number in zip(line, range(8)):
            axes.imshow(images[number].permute(1, 2, 0))
            if row is not None:
                axes.imshow(
                    row[number], colours, vmin=0, vmax=len(REGIONS) - 1, alpha=0.65,
                    interpolation="nearest",
                )  # fmt: skip
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    key = [Patch(color=colour, label=name) for colour, name in zip(COLOURS, REGIONS)]
    figure.legend(handles=key, loc="outside lower center", ncols=len(REGIONS))
    figure.savefig(path, dpi=100)


def main(
    folder: Folder = GALLERY,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 16 scenes.")] = 300,
    scenes: Annotated[int, typer.Option(min=8, help="Held-out scenes.")] = 200,
    layers: LayersOption = Layers.cnnkern,
) -> dict[str, float]:
    """Trains both networks on generated landscapes, and measures them on held-out ones."""
    result = Result(folder, "scene_labelling", "Scene labelling: landscapes", layers)
    images, labels = Landscapes(scenes, held_out=True).batch(range(scenes))
    figures: dict[str, float] = {}
    predicted: dict[str, Tensor] = {}
    for name, model, patience in (("FCN-8s", FCN8s, PATIENCE), ("U-Net", UNet, 1)):
        torch.manual_seed(0)
        net = model(len(REGIONS), small=True, layers=layers.namespace)
        train(net, patience * steps, name)
        with torch.no_grad():
            predicted[name] = torch.cat([net(centred(x)).argmax(1) for x in images.split(50)])
        each = intersection_over_union(predicted[name], labels)
        figures[f"{name}: mean IoU on held-out scenes"] = float(each.mean())
        figures |= {f"{name}: IoU of {r}": float(iou) for r, iou in zip(REGIONS, each)}
    draw(images, labels, predicted, folder / "scene_labelling.png")
    result.write(figures, ["scene_labelling.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
