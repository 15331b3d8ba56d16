"""Pose estimation: where are the joints of a figure?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageDraw
from torch import Tensor

from cnnkern.data.scenes import material
from cnnkern.data.scenes.scenes import Scenes

SIZE = 64
# The joints and their order are those of Leeds Sports Poses, on which DeepPose was measured.
JOINTS = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle",
    "right wrist", "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist",
    "neck", "head top",
)  # fmt: skip
RIGHT_LEG, LEFT_LEG = (2, 1, 0), (3, 4, 5)
RIGHT_ARM, LEFT_ARM = (8, 7, 6), (9, 10, 11)
TORSO = (8, 9, 3, 2)
NECK, HEAD = 12, 13
LIMBS = (*((chain[i], chain[i + 1]) for chain in (RIGHT_LEG, LEFT_LEG, RIGHT_ARM, LEFT_ARM)
           for i in (0, 1)), (8, 9), (9, 3), (3, 2), (2, 8), (NECK, HEAD))  # fmt: skip

Joints = NDArray[np.float64]  # (14, 2): x and y in pixels


class Figures(Scenes[tuple[Tensor, Tensor]]):
    """(3, 64, 64) images from 0 to 1, and joints (14, 2): x and y from −1 at the left and top to 1.

    A figure faces us before a photograph. It leans, and its limbs bend, as they like; all joints
    are within the image. Limbs lie before or behind the body and each other, so some joints cannot
    be seen. Clothes are of any colours that can be seen.
    """

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        background = material.photograph(rng, SIZE, self.held_out)
        torso = rng.uniform(13, 17)
        joints = _pose(rng, torso)
        behind = material.pixels(background)
        colours = [_visible(rng, behind) for _ in range(3)]
        _dress(rng, ImageDraw.Draw(background), joints, torso, colours)
        scene = material.pixels(background)
        scene += rng.normal(0, 0.02, scene.shape).astype(np.float32)
        return material.to_tensor(scene), torch.from_numpy(joints * 2 / SIZE - 1).float()


def _visible(rng: np.random.Generator, behind: material.Pixels) -> material.Colour:
    red, green, blue = (255 * material.visible_colour(rng, behind)).astype(int).tolist()
    return red, green, blue


def _pose(rng: np.random.Generator, torso: float) -> Joints:
    """Joints of a figure with a body of ``torso`` pixels, at a random place within the image."""
    while True:
        lean = rng.uniform(-0.3, 0.3)
        down = np.array([np.sin(lean), np.cos(lean)])
        across = np.array([down[1], -down[0]])  # to the right of the image: the figure's left
        joints = np.zeros((len(JOINTS), 2))
        joints[HEAD] = -torso * 0.55 * down
        for side, arm, leg in ((-1, RIGHT_ARM, RIGHT_LEG), (1, LEFT_ARM, LEFT_LEG)):
            joints[arm[0]] = torso * (0.12 * down + side * 0.42 * across)
            joints[leg[0]] = torso * (1.1 * down + side * 0.26 * across)
            raised = lean + side * rng.uniform(-0.2, 2.2)
            spread = lean + side * rng.uniform(-0.2, 0.9)
            _bend(joints, arm, raised, raised + rng.uniform(-1.0, 1.0), 0.62 * torso)
            _bend(joints, leg, spread, spread - side * rng.uniform(-0.2, 1.0), 0.78 * torso)
        low, high = joints.min(0), joints.max(0)
        room = SIZE - 2 - (high - low)
        if (room > 0).all():
            placed: Joints = joints - low + 1 + room * rng.random(2)
            return placed


def _bend(
    joints: Joints, chain: tuple[int, int, int], first: float, second: float, length: float
) -> None:
    """Sets the middle and the end of a limb; angles are from straight down to the right."""
    for i, angle in enumerate((first, second)):
        step = length * np.array([np.sin(angle), np.cos(angle)])
        joints[chain[i + 1]] = joints[chain[i]] + step


def _dress(
    rng: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    joints: Joints,
    torso: float,
    colours: list[material.Colour],
) -> None:
    """Draws limbs, body and head, in random order."""
    shirt, trousers, skin = colours
    width = round(0.26 * torso)

    def points(chain: tuple[int, ...]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in joints[list(chain)]]

    def dot(x: float, y: float, radius: float, fill: material.Colour) -> None:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def limb(chain: tuple[int, ...], fill: material.Colour, end: material.Colour) -> None:
        shade = rng.uniform(0.75, 1.0)
        fill = (int(fill[0] * shade), int(fill[1] * shade), int(fill[2] * shade))
        pen.line(points(chain), fill, width, joint="curve")
        for x, y in points(chain[:2]):
            dot(x, y, width / 2, fill)
        dot(*points(chain[2:])[0], width / 2 + 0.5, end)

    def body() -> None:
        pen.polygon(points(TORSO), shirt)
        pen.line(points((NECK, HEAD)), skin, width)

    def head() -> None:
        (x1, y1), (x2, y2) = points((NECK, HEAD))
        dot(0.35 * x1 + 0.65 * x2, 0.35 * y1 + 0.65 * y2, 0.25 * torso, skin)

    parts: list[Callable[[], None]] = [body, head]
    parts += [partial(limb, arm, shirt, skin) for arm in (RIGHT_ARM, LEFT_ARM)]
    parts += [partial(limb, leg, trousers, shirt) for leg in (RIGHT_LEG, LEFT_LEG)]
    for number in rng.permutation(len(parts)):
        parts[number]()
