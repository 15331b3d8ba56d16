"""Digits changed by very little so that LeNet-5 errs, and two defences, measured.

python examples/adversarial_examples.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)

The first defence trains on attacked images. The second, Defense-GAN (Samangouei, Kabkab, Chellappa,
2018), shows the classifier not the image but the nearest one that a generator of digits can draw:
what the attacker added is no digit, so it stays behind. The attacker knows the classifier, but not
that there is a projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from gan_digits import CLASSES, NOISE, codes, draw, train_gan
from matplotlib.figure import Figure
from rich.console import Console
from shared import (
    GALLERY,
    Epochs,
    Folder,
    Layers,
    LayersOption,
    Result,
    on_pixels,
    train_lenet5,
)
from torch import Tensor, nn
from torch.nn import functional as F

from cnnkern.adversarial import fgsm, gradient_sign, pgd
from cnnkern.data import Dataset, load_digits
from cnnkern.models import LeNet5
from cnnkern.progress import progress_bar
from cnnkern.train.minimise import minimise
from cnnkern.visualize import BLUE, GREY, ORANGE

EPSILONS = 0.0, 0.05, 0.1, 0.15, 0.2, 0.3  # of the range from black to white
EPS = 0.15  # of the figures
BANK = 2000  # samples among which the projection begins
STARTS = 3  # the nearest so many of them


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def train_on_attacks(data: Dataset, epochs: int, layers: Layers) -> nn.Module:
    """LeNet-5 on pixels that learns from each image as it is and after an attack.

    Every attack starts at a random place and has an ε of its own, up to the largest of
    ``EPSILONS``, so that the network cannot prepare for one attack only.
    """
    pixels, labels = data.pixels(data.train_images), data.train_labels
    model = on_pixels(LeNet5(layers=layers.namespace), data)

    def loss(batch: Tensor) -> Tensor:
        clean, truth = pixels[batch], labels[batch]
        eps = max(EPSILONS) * torch.rand(len(batch), 1, 1, 1)
        start = (clean + eps * (2 * torch.rand_like(clean) - 1)).clamp(0, 1)
        attacked = fgsm(model, start, truth, eps)
        return F.cross_entropy(model(torch.cat([clean, attacked])), truth.repeat(2))

    minimise(loss, model.parameters(), len(labels), epochs, lr=3e-3, name="adversarial training")
    return model.eval()


def project(generator: nn.Module, images: Tensor, steps: int) -> Tensor:
    """The nearest images that the generator draws, by descent on its random numbers.

    Args:
        generator: of :func:`gan_digits.train_gan`.
        images: (N, 1, 32, 32) from 0 to 1.
        steps: of the descent, from each of the ``STARTS`` nearest of ``BANK`` samples. Each keeps
            its class, and the start that ends nearest wins.
    """
    with torch.no_grad():
        bank = codes(torch.arange(BANK) % CLASSES)
        drawn = torch.cat([draw(generator, part) for part in bank.split(250)])
        nearest = torch.cdist(images.flatten(1), drawn.flatten(1)).topk(STARTS, largest=False)
    best, least = images.clone(), torch.full((len(images),), torch.inf)
    with progress_bar(Console()) as bar:
        task = bar.add_task("projection", total=STARTS * steps)
        for start in nearest.indices.T:
            noise, kind = bank[start].split([NOISE, CLASSES], 1)
            noise.requires_grad_()
            optimizer = torch.optim.Adam([noise], lr=0.1)
            for _ in range(steps):
                found = draw(generator, torch.cat([noise, kind], 1))
                distance = (found - images).square().flatten(1).sum(1)
                optimizer.zero_grad()
                distance.sum().backward()
                optimizer.step()
                bar.advance(task)
            closer = distance.detach() < least
            best[closer], least[closer] = found.detach()[closer], distance.detach()[closer]
    return best


def draw_example(model: nn.Module, images: Tensor, labels: Tensor, path: Path) -> None:
    """x, ε·sign(∇J) and x + ε·sign(∇J), with class and confidence under each: four digits."""
    attacked, sign = fgsm(model, images, labels, EPS), gradient_sign(model, images, labels)
    with torch.no_grad():
        before, after = model(images).softmax(1), model(attacked).softmax(1)
        noise = model((0.5 + EPS * sign).clamp(0, 1)).softmax(1)
    right, wrong = before.argmax(1) == labels, after.argmax(1) != labels
    # The surest fooled answers of four different classes.
    order = (after.amax(1) * (right & wrong)).argsort(descending=True).tolist()
    chosen = list({int(labels[i]): i for i in reversed(order[: len(order) // 4])}.values())[:4]
    figure = Figure(figsize=(7, 2.3 * len(chosen)), layout="constrained")
    for axes, index in zip(figure.subplots(len(chosen), 3, squeeze=False), chosen):
        shown = (
            ("x", images[index, 0], before[index]),
            (f"{EPS} · sign(∇J)", 0.5 + EPS * sign[index, 0], noise[index]),
            (f"x + {EPS} · sign(∇J)", attacked[index, 0], after[index]),
        )
        for panel, (title, picture, answer) in zip(axes, shown):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
            color = BLUE if int(answer.argmax()) == int(labels[index]) else ORANGE
            text = f"{int(answer.argmax())}, {float(answer.max()):.1%}"
            panel.set(title=title, xticks=[], yticks=[])
            panel.set_xlabel(text, color=color, fontweight="bold")
    figure.savefig(path, dpi=90)


def draw_curves(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Accuracy against ε, one curve a network and attack."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    styles = [(BLUE, "-"), (BLUE, "--"), (ORANGE, "-"), (ORANGE, "--")]
    for (name, values), (color, line) in zip(curves.items(), styles):
        percent = [100 * value for value in values]
        axes.plot(EPSILONS, percent, color=color, linestyle=line, marker="o", label=name)
    axes.set(xlabel="ε, of the range from black to white", ylabel="held-out accuracy [%]")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def draw_projections(clean: Tensor, attacked: Tensor, projected: Tensor, path: Path) -> None:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(3, 10)
    rows = (("image", clean), ("attacked", attacked), ("projected", projected))
    for axes, (name, images) in zip(panels, rows):
        for panel, image in zip(axes, images):
            panel.imshow(image[0], cmap="gray", vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
        axes[0].set_ylabel(name, color=GREY)
    figure.savefig(path, dpi=90)


def main(
    folder: Folder = GALLERY,
    epochs: Epochs = 15,
    layers: LayersOption = Layers.cnnkern,
    descent: Annotated[int, typer.Option(min=1, help="Steps of the projection.")] = 60,
    images: Annotated[int, typer.Option(min=1, help="Held-out digits that are attacked.")] = 300,
) -> dict[str, float]:
    """Attacks LeNet-5 and defends it; every network trains for EPOCHS."""
    result = Result(folder, "adversarial_examples", "Adversarial examples and defences", layers)
    data = load_digits()
    plain = on_pixels(train_lenet5(data, epochs, layers).model, data)
    hardened = train_on_attacks(data, epochs, layers)
    generator = train_gan(data, epochs, layers)

    pixels, labels = data.pixels(data.test_images[:images]).clamp(0, 1), data.test_labels[:images]
    curves = {}
    for name, model in (("as trained", plain), ("adversarial training", hardened)):
        one = [accuracy(model, fgsm(model, pixels, labels, eps), labels) for eps in EPSILONS]
        many = [accuracy(model, pgd(model, pixels, labels, eps), labels) for eps in EPSILONS]
        curves |= {f"{name}, FGSM": one, f"{name}, PGD": many}

    attacked = fgsm(plain, pixels, labels, EPS)
    projected = project(generator, torch.cat([pixels, attacked]), descent).chunk(2)
    at = EPSILONS.index(EPS)
    figures = {"clean accuracy": curves["as trained, FGSM"][0]}
    figures |= {f"{name}, ε = {EPS}": values[at] for name, values in curves.items()}
    figures |= {
        "adversarial training, clean": curves["adversarial training, FGSM"][0],
        "projected, clean": accuracy(plain, projected[0], labels),
        f"projected, FGSM, ε = {EPS}": accuracy(plain, projected[1], labels),
    }
    pictures = ["adversarial_examples.png", "adversarial_accuracy.png", "adversarial_defence.png"]
    draw_example(plain, pixels, labels, folder / pictures[0])
    draw_curves(curves, folder / pictures[1])
    draw_projections(pixels, attacked, projected[1], folder / pictures[2])
    result.write(figures, pictures)
    return figures


if __name__ == "__main__":
    typer.run(main)
