"""A single-shot detector finds handwritten digits in cluttered scenes.

python examples/detection.py [FOLDER] [--steps N] [--layers torch]    (out/gallery)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from shared import GALLERY, Folder, Layers, LayersOption, Result
from torch import Tensor
from torchvision.ops import box_iou, nms

from cnnkern.data.scenes import DigitScenes
from cnnkern.models import SSD
from cnnkern.models.ssd_boxes import Detection, Truth
from cnnkern.train.minimise import minimise

BATCH = 16
OVERLAP = 0.5  # of the union, from which a box has found its object
LEAST_SCORE = 0.02  # of boxes that count for the precision; drawn are those from SURE
SURE = 0.3
CLASSES = 10


def train_detector(steps: int, layers: Layers) -> SSD:
    """An SSD that has seen ``steps`` batches of scenes, no scene twice."""
    torch.manual_seed(0)
    scenes = DigitScenes(steps * BATCH)
    net = SSD(1 + CLASSES, small=True, layers=layers.namespace)

    def loss(numbers: Tensor) -> Tensor:
        images, truths = scenes.batch(numbers)
        return net.loss(net(images), truths)

    minimise(loss, net.parameters(), len(scenes), 1, lr=2e-3, batch_size=BATCH, name="SSD")
    return net.eval()


def average_precision(found: list[Detection], truths: list[Truth], label: int) -> float:
    """The area under the curve of precision against recall, for the boxes of one class.

    As in the PASCAL VOC challenge since 2010: boxes of all images, the surest first; each finds the
    object with which it overlaps most, if by half of their union and nobody found it before;
    precision at a recall is the best at that recall or a higher one.
    """
    scores, right, objects = [], [], 0
    for detection, truth in zip(found, truths):
        wanted = truth.boxes[truth.labels == label]
        objects += len(wanted)
        mine = detection.labels == label
        taken: set[int] = set()
        for box, score in zip(detection.boxes[mine], detection.scores[mine].tolist()):
            overlap, number = torch.cat([box_iou(box[None], wanted)[0], torch.zeros(1)]).max(0)
            hit = overlap.item() >= OVERLAP and number.item() not in taken
            taken |= {int(number)} if hit else set()
            scores.append(score)
            right.append(hit)
    hits = np.array(right, dtype=float)[np.argsort(scores)[::-1]]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * hits).sum() / objects)


def mean_average_precision(found: list[Detection], truths: list[Truth]) -> float:
    """Over the classes that occur."""
    labels = torch.cat([truth.labels for truth in truths]).unique().tolist()
    return float(np.mean([average_precision(found, truths, label) for label in labels]))


def places(found: list[Detection], truths: list[Truth]) -> tuple[list[Detection], list[Truth]]:
    """The same with every digit called 1: where something is, whatever it is."""
    unnamed = []
    for boxes, _, scores in found:
        kept = nms(boxes, scores, OVERLAP)
        unnamed.append(Detection(boxes[kept], torch.ones_like(kept), scores[kept]))
    return unnamed, [Truth(boxes, torch.ones_like(labels)) for boxes, labels in truths]


def draw(images: Tensor, found: list[Detection], truths: list[Truth], path: Path) -> None:
    """Found boxes in red with digit and score, true ones in green."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    for axes, image, detection, truth in zip(figure.subplots(3, 6).flat, images, found, truths):
        axes.imshow(image.permute(1, 2, 0), extent=(0, 1, 1, 0))
        axes.axis("off")
        for x1, y1, x2, y2 in truth.boxes.tolist():
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="lime"))
        for (x1, y1, x2, y2), label, score in zip(*(part.tolist() for part in detection)):
            if score < SURE:
                continue
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="red"))
            axes.text(
                x1, y1, f"{label - 1}: {score:.0%}", color="white", backgroundcolor="red",
                fontsize=6, verticalalignment="bottom", bbox={"pad": 1, "color": "red"},
            )  # fmt: skip
    figure.suptitle("Held-out scenes: found in red, truth in green")
    figure.savefig(path, dpi=100)


def main(
    folder: Folder = GALLERY,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 16 scenes.")] = 800,
    scenes: Annotated[int, typer.Option(min=18, help="Held-out scenes.")] = 400,
    layers: LayersOption = Layers.cnnkern,
) -> dict[str, float]:
    """Trains the detector on generated scenes, and counts what it finds in held-out ones."""
    result = Result(folder, "detection", "Object detection: digits in clutter", layers)
    net = train_detector(steps, layers)
    images, truths = DigitScenes(scenes, held_out=True).batch(range(scenes))
    with torch.no_grad():
        found = [
            detection
            for batch in images.split(50)
            for detection in net.detect(net(batch), LEAST_SCORE)
        ]
    figures = {
        "mAP@0.5 on held-out scenes": mean_average_precision(found, truths),
        "AP@0.5 of places, whatever the digit": average_precision(*places(found, truths), label=1),
    }
    draw(images, found, truths, folder / "detection.png")
    result.write(figures, ["detection.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
