"""Scene labelling: what is each pixel of a landscape?"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance
from torch import Tensor

from cnnkern.data.scenes import material
from cnnkern.data.scenes.scenes import Scenes

SIZE = 64
REGIONS = ("sky", "water", "road", "building", "tree")
SKY, WATER, ROAD, BUILDING, TREE = range(5)

# Where in the photograph of the pagoda each is seen: (x1, y1, x2, y2). No road is: grit of the
# right colour are the shrubs, without theirs and with less contrast.
SOURCES = {
    SKY: (330, 5, 540, 185),
    WATER: (345, 220, 535, 268),
    ROAD: (40, 350, 200, 425),
    BUILDING: (115, 180, 305, 350),
    TREE: (370, 315, 545, 425),
}


class Landscapes(Scenes[tuple[Tensor, Tensor]]):
    """(3, 64, 64) images from 0 to 1, and labels (64, 64) int64 that index `REGIONS`.

    Under the sky lies water with a road to the horizon, or a plain of road with a lake. One or two
    buildings with or without a gable and one to three trees stand before it and before each other.
    Each region is filled with its own texture, a random square of the photograph where that is
    seen, in random light. Textures for training come from the left half of each place, held-out
    ones from the right.
    """

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        labels = np.asarray(_layout(rng))
        scene = np.zeros((SIZE, SIZE, 3), np.float32)
        for region in range(len(REGIONS)):
            where = labels == region
            scene[where] = _texture(rng, region, self.held_out)[where]
        scene += rng.normal(0, 0.02, scene.shape).astype(np.float32)
        return material.to_tensor(scene), torch.from_numpy(labels.astype(np.int64))


def _texture(rng: np.random.Generator, region: int, held_out: bool) -> material.Pixels:
    """(64, 64, 3) pixels of a region's kind."""
    left, top, right, bottom = SOURCES[region]
    middle = (left + right) // 2
    left, right = (middle, right) if held_out else (left, middle)
    source = material.photographs()[0].crop((left, top, right, bottom))
    side = rng.uniform(0.4, 1.0) * min(source.size)
    box = material.window(rng, source.width, source.height, side)
    image = source.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    if region == ROAD:
        image = ImageEnhance.Contrast(image.convert("L").convert("RGB")).enhance(0.4)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return material.pixels(image) * rng.uniform(0.75, 1.05) + rng.uniform(-0.05, 0.05)


def _layout(rng: np.random.Generator) -> Image.Image:
    """An image whose pixels are the labels."""
    labels = Image.new("L", (SIZE, SIZE), SKY)
    pen = ImageDraw.Draw(labels)
    horizon = rng.uniform(0.3, 0.6) * SIZE
    if rng.random() < 0.5:
        pen.rectangle((0, horizon, SIZE, SIZE), WATER)
        near, far = rng.uniform(0, SIZE, 2)
        wide, narrow = rng.uniform(14, 26), rng.uniform(2, 6)
        corners = [(near - wide, SIZE), (far - narrow, horizon), (far + narrow, horizon)]
        pen.polygon([*corners, (near + wide, SIZE)], ROAD)
    else:
        pen.rectangle((0, horizon, SIZE, SIZE), ROAD)
        x, y = rng.uniform(0, SIZE), rng.uniform(horizon, SIZE)
        across, down = rng.uniform(16, 32), rng.uniform(6, 14)
        # The lake does not flood the sky.
        pen.ellipse((x - across, max(y - down, horizon), x + across, y + down), WATER)
    things = [_building] * rng.integers(1, 3) + [_tree] * rng.integers(1, 4)
    for number in rng.permutation(len(things)):
        things[number](rng, pen, horizon)
    return labels


def _building(rng: np.random.Generator, pen: ImageDraw.ImageDraw, horizon: float) -> None:
    left, foot = rng.uniform(-8, SIZE - 8), horizon + rng.uniform(0, 10)
    right, roof = left + rng.uniform(12, 24), foot - rng.uniform(12, 28)
    pen.rectangle((left, roof, right, foot), BUILDING)
    if rng.random() < 0.5:
        top = ((left + right) / 2, roof - rng.uniform(4, 10))
        pen.polygon([(left - 2, roof), top, (right + 2, roof)], BUILDING)


def _tree(rng: np.random.Generator, pen: ImageDraw.ImageDraw, horizon: float) -> None:
    x, foot = rng.uniform(0, SIZE), horizon + rng.uniform(3, 16)
    crown = foot - rng.uniform(8, 16)
    pen.rectangle((x - 2, crown, x + 2, foot), TREE)
    for _ in range(5):
        dx, dy = rng.uniform(-5, 5, 2)
        radius = rng.uniform(4, 8)
        centre_x, centre_y = x + dx, crown + dy
        pen.ellipse(
            (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius), TREE
        )
