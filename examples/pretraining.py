"""Layers that learn without labels first: greedy convolutional autoencoders, then fine-tuning.

python examples/pretraining.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)

Each convolution of LeNet-5 learns to keep what its input says although a part of that is missing
(Vincent et al., 2008; Masci et al., 2011), the first layer first. Then the whole network learns
from few labels, and is compared with one that starts at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.figure import Figure
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.data import Dataset, load_digits
from cnnkern.models import LeNet5
from cnnkern.train import evaluate
from cnnkern.train.minimise import minimise
from cnnkern.visualize import BLUE, ORANGE, image_grid

LABELS = 100, 300, 1000
MISSING = 0.3  # of a layer's input, while it learns to reconstruct
STEPS = 300  # of a training with labels, whatever their number
BATCH = 32


def stages(model: LeNet5) -> list[nn.Sequential]:
    """The convolutions with what follows each: the parts that are trained one after the other."""
    return [
        nn.Sequential(model.c1, nn.ReLU(), model.s2),
        nn.Sequential(model.c3, nn.ReLU(), model.s4),
        nn.Sequential(model.c5, nn.ReLU()),
    ]


def decoder(stage: nn.Sequential, layers: Layers) -> nn.Sequential:
    """Undoes a stage: enlarges if the stage pooled, then convolves the other way round."""
    conv = stage[0]
    enlarge = [nn.Upsample(scale_factor=2)] if len(stage) == 3 else []
    back = layers.namespace.ConvTranspose2d(conv.out_channels, conv.in_channels, conv.kernel_size)
    return nn.Sequential(*enlarge, back)


def learn_to_reconstruct(autoencoder: nn.Module, inputs: Tensor, epochs: int, name: str) -> None:
    """Trains on inputs (N, ...) of which a part is missing to put out the whole."""

    def loss(batch: Tensor) -> Tensor:
        whole = inputs[batch]
        return F.mse_loss(autoencoder(whole * (torch.rand_like(whole) > MISSING)), whole)

    minimise(loss, autoencoder.parameters(), len(inputs), epochs, lr=3e-3, name=name)


def pretrain(
    images: Tensor, epochs: int, layers: Layers
) -> tuple[LeNet5, list[nn.Sequential], list[float]]:
    """LeNet-5 whose convolutions learned to reconstruct; the decoders; each one's error.

    An error is a share of the input's variance: 1 for whoever always answers with the mean.
    """
    model = LeNet5(layers=layers.namespace)
    decoders, errors = [], []
    inputs = images
    for number, stage in enumerate(stages(model), 1):
        back = decoder(stage, layers)
        learn_to_reconstruct(nn.Sequential(stage, back), inputs, epochs, f"autoencoder {number}")
        with torch.no_grad():
            code = stage(inputs)
            errors.append(float((back(code) - inputs).square().mean() / inputs.var()))
        decoders.append(back)
        inputs = code
    return model, decoders, errors


def fine_tune(model: LeNet5, images: Tensor, labels: Tensor, name: str) -> None:
    """Trains all layers, ``STEPS`` steps in all."""
    epochs = -(-STEPS // -(-len(labels) // BATCH))
    minimise(
        lambda batch: F.cross_entropy(model(images[batch]), labels[batch]),
        model.parameters(),
        len(labels),
        epochs,
        batch_size=BATCH,
        lr=2e-3,
        name=name,
    )


def compare(
    pretrained: LeNet5, data: Dataset, seeds: int, layers: Layers
) -> dict[str, list[list[float]]]:
    """Held-out accuracies: for each way to begin and each number of labels, one a seed."""
    found: dict[str, list[list[float]]] = {"from scratch": [], "pre-trained": []}
    for count in LABELS:
        for name, accuracies in found.items():
            accuracies.append([])
            for seed in range(seeds):
                torch.manual_seed(seed)
                chosen = torch.randperm(len(data.train_labels))[:count]  # the same for both
                model = LeNet5(layers=layers.namespace)
                if name == "pre-trained":
                    convolutions = [(model.c1, pretrained.c1), (model.c3, pretrained.c3)]
                    for ours, learned in [*convolutions, (model.c5, pretrained.c5)]:
                        ours.load_state_dict(learned.state_dict())
                images, labels = data.train_images[chosen], data.train_labels[chosen]
                fine_tune(model, images, labels, f"{count} labels, {name}")
                accuracies[-1].append(evaluate(model, data.test_images, data.test_labels).accuracy)
    return found


def draw_curves(found: Mapping[str, Sequence[Sequence[float]]], path: Path) -> None:
    """Mean accuracy against the number of labels, and each seed's as a dot."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for (name, accuracies), color in zip(found.items(), (BLUE, ORANGE)):
        percent = 100 * torch.tensor(accuracies)
        axes.plot(LABELS, percent.mean(1), color=color, label=name)
        for seed in percent.T:
            axes.plot(LABELS, seed, "o", color=color, alpha=0.5, markersize=4)
    axes.set(xscale="log", xlabel="labels", ylabel="held-out accuracy [%]", xticks=LABELS)
    axes.set_xticklabels([str(count) for count in LABELS])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main(
    folder: Folder = GALLERY,
    epochs: Epochs = 15,
    layers: LayersOption = Layers.cnnkern,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
) -> dict[str, float]:
    """Trains autoencoders for EPOCHS each, then with few labels."""
    result = Result(folder, "pretraining", "Layer-wise pre-training", layers)
    data = load_digits()
    torch.manual_seed(0)
    pretrained, decoders, errors = pretrain(data.train_images, epochs, layers)
    found = compare(pretrained, data, seeds, layers)

    shown = data.test_images[:10]
    rows, code = [shown], shown
    with torch.no_grad():
        for depth, stage in enumerate(stages(pretrained), 1):
            code = stage(code)
            again = code
            for back in reversed(decoders[:depth]):
                again = back(again)
            rows.append(again)
    title = "Digits, and what is left of them in one, two and three layers"
    pictures = ["pretraining_reconstructions.png", "pretraining_accuracy.png"]
    image_grid(torch.cat(rows)[:, 0], 10, title, folder / pictures[0])
    draw_curves(found, folder / pictures[1])
    figures = {
        f"{count} labels, {name}": sum(accuracies[place]) / seeds
        for place, count in enumerate(LABELS)
        for name, accuracies in found.items()
    }
    for number, error in enumerate(errors, 1):
        figures[f"layer {number}: error of the reconstruction"] = error
    result.write(figures, pictures)
    return figures


if __name__ == "__main__":
    typer.run(main)
