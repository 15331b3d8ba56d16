"""Action recognition: how does the digit move?"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from cnnkern.data.scenes import material
from cnnkern.data.scenes.scenes import Scenes

SIZE, FRAMES = 32, 8
MIDDLE = FRAMES // 2  # the frame at time 0
# What changes from time 0 to 1: x and y in pixels, the logarithm of the size, the angle.
MOTIONS = {
    "right": (7.0, 0.0, 0.0, 0.0),
    "left": (-7.0, 0.0, 0.0, 0.0),
    "down": (0.0, 7.0, 0.0, 0.0),
    "up": (0.0, -7.0, 0.0, 0.0),
    "nearer": (0.0, 0.0, 0.5, 0.0),
    "farther": (0.0, 0.0, -0.5, 0.0),
    "clockwise": (0.0, 0.0, 0.0, 1.0),
    "counter-clockwise": (0.0, 0.0, 0.0, -1.0),
}
JITTER = 2  # pixels by which the camera is off at most


class MovingDigits(Scenes[tuple[Tensor, int]]):
    """(3, 8, 32, 32) clips from 0 to 1, and the number of the motion in `MOTIONS`.

    A digit moves before a photograph; the camera's hand shakes, a pixel a frame at most, and moves
    both. In the middle frame, number 4, digits of all motions stand, are turned and are sized
    alike: it says nothing about the motion.
    """

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, int]:
        background = material.pixels(material.photograph(rng, SIZE + 2 * JITTER, self.held_out))
        images, _ = material.digits(self.held_out)
        digit = images[rng.integers(len(images))]
        motion = int(rng.integers(len(MOTIONS)))
        dx, dy, growth, turn = list(MOTIONS.values())[motion]
        x, y = rng.uniform(SIZE / 2 - 4, SIZE / 2 + 4, 2)
        height, angle = rng.uniform(13, 19), rng.uniform(-0.3, 0.3)
        paint = material.visible_colour(rng, background)
        speed = rng.uniform(0.7, 1.1)
        shaken = np.zeros(2, np.int64)
        frames = []
        for frame in range(FRAMES):
            time = speed * (frame - MIDDLE) / MIDDLE
            left, top = shaken + JITTER
            scene = background[top : top + SIZE, left : left + SIZE]
            mask = material.place(
                digit,
                SIZE,
                x + dx * time - shaken[0],
                y + dy * time - shaken[1],
                height * math.exp(growth * time),
                angle + turn * time,
            )
            frames.append(material.to_tensor(material.paint(scene, mask, paint)))
            shaken = (shaken + rng.integers(-1, 2, 2)).clip(-JITTER, JITTER)
        return torch.stack(frames, 1), motion
