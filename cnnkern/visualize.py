"""Pictures of a trained network: learning curve, filters, confusions, misclassified images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from cnnkern.data import Dataset
from cnnkern.train import Evaluation, History, Trainer, evaluate

BLUE, ORANGE, GREY, GREEN = "#2f6fb0", "#e07b39", "#6b7280", "#3d8b4f"


def write_all(trainer: Trainer, data: Dataset, folder: Path) -> list[Path]:
    """Every picture of this module, for a network that was trained on ``data``."""
    evaluation = evaluate(trainer.model, data.test_images, data.test_labels)
    return [
        learning_curve(trainer.history, folder / "learning_curve.png"),
        filters(trainer.model, folder / "filters.png"),
        misclassified(data.pixels(data.test_images), evaluation, folder / "misclassified.png"),
        confusion_matrix(evaluation, folder / "confusion_matrix.png"),
    ]


def learning_curve(history: History, path: str | Path) -> Path:
    """Loss a step and an epoch on the left, accuracy an epoch on the right."""
    epochs = range(1, len(history.epochs) + 1)
    steps_per_epoch = len(history.step_losses) / max(len(history.epochs), 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)

    positions = [(step + 1) / steps_per_epoch for step in range(len(history.step_losses))]
    loss.plot(positions, history.step_losses, color=BLUE, alpha=0.25, linewidth=0.8, label="a step")
    loss.plot(epochs, [e.train_loss for e in history.epochs], color=BLUE, label="training, mean")
    loss.plot(epochs, [e.test_loss for e in history.epochs], color=ORANGE, label="held out")
    loss.set(yscale="log", xlabel="epoch", ylabel="loss", title="Loss")

    for name, color, values in (
        ("training, distorted images", BLUE, [100 * e.train_accuracy for e in history.epochs]),
        ("held out", ORANGE, [100 * e.test_accuracy for e in history.epochs]),
    ):
        accuracy.plot(epochs, values, color=color, marker="o", markersize=3, label=name)
    accuracy.set(xlabel="epoch", ylabel="accuracy [%]", title="Accuracy")
    if history.epochs:
        last = 100 * history.epochs[-1].test_accuracy
        accuracy.annotate(
            f"{last:.1f} %",
            (len(history.epochs), last),
            xytext=(0, -16),
            textcoords="offset points",
            ha="right",
            color=ORANGE,
            fontweight="bold",
        )
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return _save(figure, path)


def compare_runs(runs: Mapping[str, Mapping[str, History]], path: str | Path) -> Path:
    """Held-out accuracy an epoch: a panel for each key, in it a curve for each run."""
    figure = Figure(figsize=(5 * len(runs), 4), layout="constrained")
    panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
    for axes, (title, histories) in zip(panels, runs.items()):
        for color, (name, history) in zip((BLUE, ORANGE, GREY, GREEN), histories.items()):
            values = [100 * epoch.test_accuracy for epoch in history.epochs]
            label = f"{name}, {values[-1]:.1f} % in the end"
            axes.plot(range(1, len(values) + 1), values, color=color, marker="o", ms=3, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    panels[0].set_ylabel("held-out accuracy [%]")
    return _save(figure, path)


def filters(model: nn.Module, path: str | Path) -> Path:
    """The weights of the first two convolutions; each panel has its own symmetric colour scale.

    The first layer shows one square a filter, the second a row for each input map and a column for
    each filter: the slices that its convolution adds up.
    """
    weights = [m.weight.detach().cpu() for m in model.modules() if isinstance(m, nn.Conv2d)][:2]
    if not weights:
        raise ValueError("the model has no 2-d convolution whose filters could be shown")
    first = weights[0].flatten(0, 1)
    grids = [(_grid(first, columns=min(len(first), 12)), "First layer: {} filters of {}×{}")]
    if len(weights) > 1:
        second = weights[1].transpose(0, 1).flatten(0, 1)
        text = "Second layer: {} filters of {}×{} (columns), one slice for each input map (rows)"
        grids.append((_grid(second, columns=len(weights[1])), text))

    heights = [grid.shape[0] / grid.shape[1] for grid, _ in grids]
    figure = Figure(figsize=(9, 9 * sum(heights) + 0.5 * len(grids)), layout="constrained")
    panels = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (grid, text), weight in zip(panels, grids, weights, strict=True):
        limit = float(weight.abs().max())
        colors = axes.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(text.format(weight.shape[0], *weight.shape[2:]), fontsize=10)
        axes.axis("off")
        figure.colorbar(colors, ax=axes, fraction=0.03, pad=0.01, shrink=0.9)
    return _save(figure, path)


def misclassified(
    images: Tensor, evaluation: Evaluation, path: str | Path, limit: int = 24
) -> Path:
    """The wrongly answered images with the true and the predicted class.

    Args:
        images: (N, C, H, W) from 0 to 1, in the order of ``evaluation``.
        limit: at most so many are shown.
    """
    wrong = (evaluation.predictions != evaluation.labels).nonzero().flatten()
    shown = wrong[:limit].tolist()
    columns = min(max(len(shown), 4), 8)
    rows = max(math.ceil(len(shown) / columns), 1)
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows + 0.6), layout="constrained")
    figure.suptitle(
        f"{len(wrong)} of {len(images)} held-out images misclassified"
        + (f", the first {limit}" if len(wrong) > limit else "")
    )
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels:
        axes.axis("off")
    for axes, index in zip(panels, shown, strict=False):
        axes.imshow(images[index].movedim(0, -1).clamp(0, 1), cmap="gray")
        truth, answer = int(evaluation.labels[index]), int(evaluation.predictions[index])
        axes.set_title(f"{truth}, taken for {answer}", fontsize=10, color=GREY)
    return _save(figure, path)


def confusion_matrix(evaluation: Evaluation, path: str | Path) -> Path:
    """How often each true class (row) got each answer (column)."""
    classes = int(torch.maximum(evaluation.labels.max(), evaluation.predictions.max())) + 1
    cells = evaluation.labels * classes + evaluation.predictions
    counts = torch.bincount(cells, minlength=classes**2).view(classes, classes)
    errors = counts - torch.diag(counts.diagonal())

    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.subplots()
    # Colour shows the errors only; beside the diagonal's counts they would be invisible.
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(int(errors.max()), 4))
    for row in range(classes):
        for column in range(classes):
            _write_count(axes, row, column, int(counts[row, column]))
    axes.set(
        xticks=range(classes),
        yticks=range(classes),
        xlabel="answer",
        ylabel="truth",
        title=f"{evaluation.accuracy:.1%} of {len(evaluation.labels)} held-out images right",
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _save(figure, path)


def image_grid(images: Tensor, columns: int, title: str, path: str | Path) -> Path:
    """Grey images (N, H, W) side by side, row by row; each has its own range from black to white.

    Maps of a layer have no common unit, so what is bright in one says nothing about another.
    """
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    grid = _grid((images - low) / (high - low).clamp_min(1e-12), columns)
    width = min(max(0.8 * columns, 5), 11)
    height = width * grid.shape[0] / grid.shape[1]
    figure = Figure(figsize=(width, height + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=10)
    axes.axis("off")
    return _save(figure, path)


def heat_maps(
    images: Tensor, maps: Tensor, titles: Sequence[str], label: str, path: str | Path
) -> Path:
    """Each image, and beside it the same image under its map.

    Args:
        images: (N, C, H, W) from 0 to 1.
        maps: (N, H', W') of which a large value is important; stretched over the images.
        titles: one an image.
        label: what the colours mean.
    """
    columns = min(len(images), 5)
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(2.1 * columns + 0.6, 4.3 * rows), layout="constrained")
    panels = figure.subplots(2 * rows, columns, squeeze=False)
    limit = float(maps.max())
    height, width = images.shape[-2:]
    for axes in panels.flat:
        axes.axis("off")
    for index, (image, heat, title) in enumerate(zip(images, maps, titles, strict=True)):
        row, column = divmod(index, columns)
        for axes in panels[2 * row : 2 * row + 2, column]:
            axes.imshow(image.movedim(0, -1).clamp(0, 1), cmap="gray", vmin=0, vmax=1)
        panels[2 * row, column].set_title(title, fontsize=10)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        colors = panels[2 * row + 1, column].imshow(
            heat, cmap="inferno", alpha=0.75, vmin=0, vmax=limit, extent=extent
        )
    figure.colorbar(colors, ax=panels, label=label, shrink=0.7)
    return _save(figure, path)


def _write_count(axes: Axes, row: int, column: int, count: int) -> None:
    right = row == column
    if count or right:
        weight, color = ("bold", BLUE) if right else ("normal", "black")
        axes.text(column, row, str(count), ha="center", va="center", color=color, weight=weight)


def _grid(tiles: Tensor, columns: int) -> Tensor:
    """(N, H, W) tiles side by side, row by row, one NaN (transparent) pixel between them."""
    padded = nn.functional.pad(tiles, (0, 1, 0, 1), value=math.nan)
    missing = -len(tiles) % columns
    padded = torch.cat([padded, padded.new_full((missing, *padded.shape[1:]), math.nan)])
    _, height, width = padded.shape
    rows = padded.view(-1, columns, height, width).transpose(1, 2)
    return rows.reshape(-1, columns * width)[:-1, :-1]


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
