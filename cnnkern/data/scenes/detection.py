"""Object detection: where are which digits?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cnnkern.data.scenes import material
from cnnkern.data.scenes.scenes import Scenes
from cnnkern.models.ssd_boxes import Truth

SIZE = 64
MOST_DIGITS, MOST_CLUTTER = 3, 6
HEIGHTS = (14.0, 34.0)  # pixels
VISIBLE = 0.3  # of full paint: fainter pixels are not of the digit


class DigitScenes(Scenes[tuple[Tensor, Truth]]):
    """(3, 64, 64) images from 0 to 1, and a `Truth`: one to three digits before a photograph.

    Digits are 14 to 34 pixels high, of any colour that can be seen, and none's box lies over
    another's. Behind them, lines and ellipses of all colours clutter the photograph. Boxes are
    (x1, y1, x2, y2) in parts of the image, labels are the digit plus one, as a detector's class 0
    is "nothing".
    """

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Truth]:
        background = material.photograph(rng, SIZE, self.held_out)
        _clutter(rng, background)
        scene = material.pixels(background)
        images, names = material.digits(self.held_out)
        boxes: list[tuple[int, int, int, int]] = []
        labels: list[int] = []
        wanted = rng.integers(1, MOST_DIGITS + 1)
        while len(labels) < wanted:
            number = rng.integers(len(images))
            height = rng.uniform(*HEIGHTS)
            x, y = rng.uniform(height / 2, SIZE - height / 2, 2)
            mask = material.place(images[number], SIZE, x, y, height, rng.uniform(-0.2, 0.2))
            rows, columns = (np.flatnonzero((mask > VISIBLE).any(axis)) for axis in (1, 0))
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            if any(_overlap(box, other) for other in boxes):
                # A first digit may leave no room for another: begin anew with a smaller number.
                wanted -= rng.random() < 0.1
                continue
            behind = scene[box[1] : box[3], box[0] : box[2]]
            scene = material.paint(scene, mask, material.visible_colour(rng, behind))
            boxes.append(box)
            labels.append(int(names[number]) + 1)
        truth = Truth(torch.tensor(boxes, dtype=torch.float32) / SIZE, torch.tensor(labels))
        return material.to_tensor(scene), truth

    def batch(self, numbers: Iterable[int]) -> tuple[Tensor, list[Truth]]:
        """Images (N, 3, 64, 64), and a list of their truths."""
        images, truths = zip(*(self[int(number)] for number in numbers))
        return torch.stack(images), list(truths)


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _clutter(rng: np.random.Generator, image: Image.Image) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(MOST_CLUTTER + 1)):
        x1, y1, x2, y2 = rng.uniform(0, SIZE, 4)
        width, fill = int(rng.integers(1, 3)), material.colour(rng)
        if rng.random() < 0.5:
            pen.line((x1, y1, x2, y2), fill, width)
        else:
            corners = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            pen.ellipse(corners, outline=fill, width=width)
