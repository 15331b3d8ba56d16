"""The boxes of a single-shot detector: where they stand, what they say, and the training loss.

A box is (x1, y1, x2, y2) in parts of the image's width and height. Offsets are those of the paper,
section 2.2, divided by its variances, as in torchvision: with centre (x, y) and size (w, h) of the
object, and (x0, y0, w0, h0) of the default box, they are

    10 (x − x0)/w0,   10 (y − y0)/h0,   5 log(w/w0),   5 log(h/h0).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CENTRE, SIZE = 10.0, 5.0  # one over the variances 0.1 and 0.2
LARGEST = math.log(1000 / 16)  # a box grows by at most this factor, lest exp overflow
MATCH = 0.5  # overlap from which a default box is to find an object
NEGATIVES = 3  # boxes with nothing in them, for each with something


class Grid(NamedTuple):
    """The default boxes on one map of ``pixels`` × ``pixels``.

    On each pixel stand a square of ``size`` (a part of the image), one of the geometric mean of
    ``size`` and ``next_size``, and for each ratio an upright and a lying rectangle.
    """

    pixels: int
    step: int
    size: float
    next_size: float
    ratios: tuple[int, ...]

    @property
    def boxes_a_pixel(self) -> int:
        return 2 + 2 * len(self.ratios)


class Truth(NamedTuple):
    """Boxes (objects, 4) and labels (objects,) from 1 of one image."""

    boxes: Tensor
    labels: Tensor


class Detection(NamedTuple):
    """Boxes (found, 4), labels (found,) and scores (found,), the best first."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


def default_boxes(grids: tuple[Grid, ...], size: int) -> Tensor:
    """All default boxes of an image of ``size`` pixels a side: (boxes, 4), map by map, by rows.

    >>> default_boxes((Grid(2, 32, 0.5, 0.5, ()),), 64)[::2]
    tensor([[0.0000, 0.0000, 0.5000, 0.5000],
            [0.5000, 0.0000, 1.0000, 0.5000],
            [0.0000, 0.5000, 0.5000, 1.0000],
            [0.5000, 0.5000, 1.0000, 1.0000]])
    """
    boxes: list[Tensor] = []
    for grid in grids:
        mean = math.sqrt(grid.size * grid.next_size)
        shapes = [(grid.size, grid.size), (mean, mean)]
        for ratio in grid.ratios:
            wide, narrow = grid.size * math.sqrt(ratio), grid.size / math.sqrt(ratio)
            shapes += [(wide, narrow), (narrow, wide)]
        half = torch.tensor(shapes).clamp(max=1) / 2
        places = (torch.arange(grid.pixels) + 0.5) * grid.step / size
        y, x = torch.meshgrid(places, places, indexing="ij")
        centres = torch.stack([x, y], -1).view(-1, 1, 2)
        boxes.append(torch.cat([centres - half, centres + half], -1).view(-1, 4))
    return torch.cat(boxes)


def _centre_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    corner, opposite = boxes[..., :2], boxes[..., 2:]
    return (corner + opposite) / 2, opposite - corner


def encode(boxes: Tensor, defaults: Tensor) -> Tensor:
    """The offsets by which ``defaults`` say ``boxes``, both (..., 4)."""
    (centre, size), (centre0, size0) = _centre_size(boxes), _centre_size(defaults)
    return torch.cat([CENTRE * (centre - centre0) / size0, SIZE * torch.log(size / size0)], -1)


def decode(offsets: Tensor, defaults: Tensor) -> Tensor:
    """The boxes that ``offsets`` of ``defaults`` say, both (..., 4).

    >>> default, box = torch.tensor([0.0, 0.0, 0.5, 0.5]), torch.tensor([0.25, 0.0, 0.5, 1.0])
    >>> torch.allclose(decode(encode(box, default), default), box, atol=1e-6)
    True
    """
    centre0, size0 = _centre_size(defaults)
    centre = centre0 + offsets[..., :2] / CENTRE * size0
    half = size0 * torch.exp((offsets[..., 2:] / SIZE).clamp(max=LARGEST)) / 2
    return torch.cat([centre - half, centre + half], -1)


def match(truth: Truth, defaults: Tensor) -> tuple[Tensor, Tensor]:
    """For each default box the label it is to find, or 0, and the number of its object.

    A box is to find the object with which it overlaps most, if by more than half of their union;
    and each object's best box is to find it in any case.
    """
    from torchvision.ops import box_iou

    if len(truth.labels) == 0:
        nothing = torch.zeros(len(defaults), dtype=torch.int64, device=defaults.device)
        return nothing, nothing
    overlap = box_iou(truth.boxes, defaults)
    best, number = overlap.max(0)
    favourite = overlap.argmax(1)
    number[favourite] = torch.arange(len(favourite), device=number.device)
    best[favourite] = 1.0
    return torch.where(best > MATCH, truth.labels[number], 0), number


def multibox_loss(offsets: Tensor, logits: Tensor, defaults: Tensor, truths: list[Truth]) -> Tensor:
    """Smooth L1 of the offsets plus cross-entropy, over the number of boxes with an object.

    Offsets count where there is an object. Boxes without one are far more, so of these only the
    three times as many count that are most wrongly taken for something (hard negatives).

    Args:
        offsets, logits: what a network says, (N, A, 4) and (N, A, classes).
        defaults: the default boxes (A, 4).
        truths: of each image.
    """
    labels, wanted = [], []
    for truth in truths:
        found, number = match(truth, defaults)
        labels.append(found)
        objects = truth.boxes[number] if len(truth.labels) else defaults
        wanted.append(encode(objects, defaults))
    label, target = torch.stack(labels), torch.stack(wanted)
    positive = label > 0
    box_loss = F.smooth_l1_loss(offsets[positive], target[positive], reduction="sum")
    class_loss = F.cross_entropy(logits.transpose(1, 2), label, reduction="none")
    # Rank of each box among its image's negatives, the most wrong first.
    wrong = class_loss.detach().masked_fill(positive, -1)
    rank = wrong.argsort(1, descending=True).argsort(1)
    hard = ~positive & (rank < NEGATIVES * positive.sum(1, keepdim=True))
    total = box_loss + class_loss[positive | hard].sum()
    return total / positive.sum().clamp_min(1)


def detect(
    offsets: Tensor, logits: Tensor, defaults: Tensor, least_score: float, overlap: float
) -> list[Detection]:
    """The boxes of each image with a probability from ``least_score`` for some class but 0.

    Of boxes of one class that overlap by more than ``overlap``, the best is kept (non-maximum
    suppression).
    """
    from torchvision.ops import batched_nms

    detections: list[Detection] = []
    for boxes, scores in zip(decode(offsets, defaults).clamp(0, 1), logits.softmax(-1)[..., 1:]):
        box, label = (scores >= least_score).nonzero(as_tuple=True)
        kept = batched_nms(boxes[box], scores[box, label], label, overlap)
        box, label = box[kept], label[kept]
        detections.append(Detection(boxes[box], label + 1, scores[box, label]))
    return detections
