"""A DCGAN draws handwritten digits; a classifier that never saw it says how well.

python examples/gan_digits.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)

Both networks are told the class (Mirza and Osindero, 2014): without it a generator also draws
what lies between two digits, and nobody can read that.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result, on_pixels, train_lenet5
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.data import Dataset, load_digits
from cnnkern.models import DCGANDiscriminator, DCGANGenerator
from cnnkern.progress import progress_bar

CLASSES = 10
NOISE = 32  # random numbers of a code, beside its class
BATCH = 32
RATES = 1e-3, 5e-4  # of generator and discriminator
REAL = 0.9  # target for real images: a discriminator that is too sure has no gradient to teach with
JUDGE_EPOCHS = 20  # a classifier that is unsure of real digits recognises no drawn ones either
SURE = 0.9  # a sample counts as recognised above this confidence


def codes(labels: Tensor) -> Tensor:
    """The generator's inputs (N, NOISE + CLASSES) for classes (N,): random, then one-hot."""
    return torch.cat([torch.randn(len(labels), NOISE), F.one_hot(labels, CLASSES).float()], 1)


def draw(generator: nn.Module, numbers: Tensor) -> Tensor:
    """The images (N, 1, 32, 32) from 0 to 1 that the generator makes of codes."""
    pixels: Tensor = (generator(numbers) + 1) / 2
    return pixels


def train_gan(data: Dataset, epochs: int, layers: Layers) -> DCGANGenerator:
    """A generator that draws like ``data``'s training images, in evaluation mode.

    The discriminator learns to tell real images from drawn ones, the generator to be taken for
    real. The discriminator sees the class as ten more channels, one of them all ones.
    """
    real, labels = 2 * data.pixels(data.train_images) - 1, data.train_labels
    generator = DCGANGenerator(1, NOISE + CLASSES, small=True, layers=layers.namespace)
    discriminator = DCGANDiscriminator(1 + CLASSES, small=True, layers=layers.namespace)
    # The last, smaller batch is left out: batch normalisation wants its statistics alike.
    batches = len(real) // BATCH
    steps = epochs * batches
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.999))
        for net, rate in zip((generator, discriminator), RATES)
    ]
    schedules = [torch.optim.lr_scheduler.LinearLR(o, 1, 0.05, steps) for o in optimizers]

    def loss(images: Tensor, kind: Tensor, target: float) -> Tensor:
        planes = F.one_hot(kind, CLASSES).float()[:, :, None, None].expand(-1, -1, 32, 32)
        logits = discriminator(torch.cat([images, planes], 1))
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    with progress_bar(Console()) as bar:
        task = bar.add_task("GAN", total=steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(real)).split(BATCH)[:batches]:
                kind = labels[batch]
                drawn = generator(codes(kind))
                optimizers[1].zero_grad()
                (loss(real[batch], kind, REAL) + loss(drawn.detach(), kind, 0)).backward()
                optimizers[1].step()
                optimizers[0].zero_grad()
                loss(drawn, kind, 1).backward()
                optimizers[0].step()
                for schedule in schedules:
                    schedule.step()
                bar.advance(task)
    return generator.eval()


def recognised(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """How a classifier's softmax (N, CLASSES) judges samples of classes (N,)."""
    confidence, answers = probabilities.max(1)
    sure = confidence > SURE
    return {
        "samples recognised with confidence > 0.9": float(sure.float().mean()),
        "of these, as the digit that was asked for": float(
            (answers[sure] == labels[sure]).float().mean()
        ),
        "digits among the recognised": len(answers[sure].unique()),
        "rarest digit's share of the recognised": float(
            answers[sure].bincount(minlength=CLASSES).min() / sure.sum()
        ),
    }


def interpolation(rows: int, columns: int) -> Tensor:
    """Codes on straight lines between one digit and the next, (rows · columns, …)."""
    ends = codes(torch.arange(rows + 1) % CLASSES)
    way = torch.linspace(0, 1, columns)[:, None]
    return torch.cat([torch.lerp(ends[row], ends[row + 1], way) for row in range(rows)])


def save_grid(images: Tensor, columns: int, title: str, path: Path) -> None:
    """Images (N, 1, H, W) from 0 to 1 in rows of ``columns``."""
    rows = len(images) // columns
    grid = images[:, 0].unflatten(0, (rows, columns)).transpose(1, 2).flatten(0, 1).flatten(1)
    figure = Figure(figsize=(0.7 * columns, 0.7 * rows + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title)
    axes.axis("off")
    figure.savefig(path, dpi=72)


def main(
    folder: Folder = GALLERY, epochs: Epochs = 25, layers: LayersOption = Layers.cnnkern
) -> dict[str, float]:
    """Trains a DCGAN and a classifier, and lets the one judge the other."""
    result = Result(folder, "gan_digits", "Generative adversarial network: digits", layers)
    data = load_digits()
    classifier = on_pixels(train_lenet5(data, JUDGE_EPOCHS, layers).model, data)
    generator = train_gan(data, epochs, layers)
    asked = torch.arange(1000) % CLASSES
    with torch.no_grad():
        images = draw(generator, codes(asked))
        figures = recognised(classifier(images).softmax(1), asked)
        between = draw(generator, interpolation(CLASSES, 12))
    pictures = ["gan_digits.png", "gan_interpolation.png"]
    save_grid(
        images[:120].view(12, 10, 1, 32, 32).transpose(0, 1).flatten(0, 1),
        12,
        "Nobody wrote these: samples, a row a digit",
        folder / pictures[0],
    )
    save_grid(between, 12, "From each digit to the next", folder / pictures[1])
    result.write(figures, pictures)
    return figures


if __name__ == "__main__":
    typer.run(main)
