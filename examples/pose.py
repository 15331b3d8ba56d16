"""A DeepPose cascade finds the joints of a figure, and corrects itself twice.

python examples/pose.py [FOLDER] [--steps N] [--layers torch]    (out/gallery)
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.figure import Figure
from shared import GALLERY, Folder, Layers, LayersOption, Result
from torch import Tensor
from torch.nn import functional as F

from cnnkern.data.scenes import JOINTS, LIMBS, Figures
from cnnkern.models import DeepPose
from cnnkern.train.minimise import minimise

STAGES = 3
# Scenes a step, and times as many steps: the first stage sees one picture a scene, and all others
# build on it; the later ones see a picture a joint.
FIRST_BATCH, BATCH, FIRST_STEPS = 16, 8, 3
SHOULDER, HIP = JOINTS.index("left shoulder"), JOINTS.index("right hip")
NEAR = 0.2  # of the body's diagonal: a joint not farther away is found


def train_cascade(steps: int, layers: Layers) -> DeepPose:
    """Stage after stage, as in the paper: each learns to correct the finished ones before it."""
    torch.manual_seed(0)
    net = DeepPose(len(JOINTS), STAGES, small=True, layers=layers.namespace)
    stages = net.stages
    for number in range(STAGES):
        net.stages = stages[: number + 1]
        for finished in stages[:number]:
            finished.eval().requires_grad_(False)
        batch = BATCH if number else FIRST_BATCH
        count = batch * steps * (1 if number else FIRST_STEPS)
        scenes = Figures(count, seed=number)

        def loss(numbers: Tensor, scenes: Figures = scenes) -> Tensor:
            images, joints = scenes.batch(numbers)
            return F.smooth_l1_loss(net(images)[:, -1], joints, beta=0.05)

        name = f"stage {number + 1}"
        minimise(loss, stages[number].parameters(), count, 1, lr=3e-3, batch_size=batch, name=name)
    return net.eval()


def found(poses: Tensor, joints: Tensor) -> Tensor:
    """PCK@0.2, the percentage of correct keypoints, of each stage: (stages,).

    A joint is correct if it is off by at most a fifth of the distance from left shoulder to right
    hip.

    Args:
        poses: (N, stages, joints, 2).
        joints: (N, joints, 2), the truth.
    """
    diagonal = (joints[:, SHOULDER] - joints[:, HIP]).norm(dim=-1)
    distance = (poses - joints[:, None]).norm(dim=-1)
    return (distance <= NEAR * diagonal[:, None, None]).float().mean((0, 2))


def draw(images: Tensor, joints: Tensor, poses: Tensor, path: Path) -> None:
    """A column a scene, a row a stage: predicted poses in red, truth in green."""
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    for stage, line in enumerate(figure.subplots(STAGES, 8)):
        line[0].set_ylabel(f"stage {stage + 1}")
        for number, axes in enumerate(line):
            axes.imshow(images[number].permute(1, 2, 0), extent=(-1, 1, 1, -1))
            axes.set(xticks=[], yticks=[])
            for pose, colour in ((joints[number], "lime"), (poses[number, stage], "red")):
                for limb in LIMBS:
                    axes.plot(*pose[list(limb)].T, color=colour, linewidth=1.5)
            axes.set(xlim=(-1, 1), ylim=(1, -1))
    figure.suptitle("Held-out scenes: predicted poses in red, truth in green")
    figure.savefig(path, dpi=100)


def main(
    folder: Folder = GALLERY,
    steps: Annotated[
        int, typer.Option(min=1, help="Batches for a later stage; thrice for the first.")
    ] = 400,
    scenes: Annotated[int, typer.Option(min=8, help="Held-out scenes.")] = 400,
    layers: LayersOption = Layers.cnnkern,
) -> dict[str, float]:
    """Trains the cascade on generated figures, and measures each stage on held-out ones."""
    result = Result(folder, "pose", "Pose estimation: a cascade that corrects itself", layers)
    net = train_cascade(steps, layers)
    images, joints = Figures(scenes, held_out=True).batch(range(scenes))
    with torch.no_grad():
        poses = torch.cat([net(batch) for batch in images.split(50)])
    figures = {
        f"PCK@0.2 after stage {number}": float(share)
        for number, share in enumerate(found(poses, joints), 1)
    }
    draw(images, joints, poses, folder / "pose.png")
    result.write(figures, ["pose.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
