"""A 3-D network and a two-stream network say how a digit moves; one frame does not tell.

python examples/action.py [FOLDER] [--steps N] [--layers torch]    (out/gallery)
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

from cnnkern.data.scenes import MOTIONS, MovingDigits
from cnnkern.models import C3D, Model, TwoStream
from cnnkern.train.minimise import minimise

BATCH = 16
ONE_FRAME = "C3D, of one frame"
# Steps over those asked for: 3-d filters learn more slowly.
STEPS = {"C3D": 1.5, "two-stream": 1.0, ONE_FRAME: 1.5}


def one_frame(clips: Tensor) -> Tensor:
    """Clips that stand still, at the middle frame of (N, C, frames, H, W)."""
    frames = clips.shape[2]
    return clips[:, :, frames // 2, None].expand(-1, -1, frames, -1, -1).contiguous()


def train(net: Model, steps: int, name: str) -> None:
    """Shows ``net`` that many batches of clips, none twice; of one frame if so named."""
    scenes = MovingDigits(steps * BATCH)

    def loss(numbers: Tensor) -> Tensor:
        clips, motions = scenes.batch(numbers)
        return F.cross_entropy(net(one_frame(clips) if name == ONE_FRAME else clips), motions)

    minimise(loss, net.parameters(), len(scenes), 1, lr=3e-3, batch_size=BATCH, name=name)
    net.eval()


def draw(clips: Tensor, motions: Tensor, predicted: dict[str, Tensor], path: Path) -> None:
    """A row a clip, one of each motion, and what each network says."""
    names = list(MOTIONS)
    frames = clips.shape[2]
    figure = Figure(figsize=(13, 9), layout="constrained")
    for motion, line in enumerate(figure.subplots(len(names), frames + 1)):
        clip = int((motions == motion).nonzero()[0])
        for frame, axes in enumerate(line[:-1]):
            axes.imshow(clips[clip, :, frame].permute(1, 2, 0))
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(names[motion], fontsize="small")
        line[-1].axis("off")
        for row, (network, said) in enumerate(predicted.items()):
            answer = int(said[clip])
            colour = "green" if answer == motion else "red"
            line[-1].text(0, 0.8 - 0.33 * row, f"{network}: {names[answer]}", color=colour)
    figure.suptitle("Held-out clips, one of each motion, and what each network takes it for")
    figure.savefig(path, dpi=100)


def main(
    folder: Folder = GALLERY,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 16 clips.")] = 400,
    scenes: Annotated[int, typer.Option(min=100, help="Held-out clips.")] = 400,
    layers: LayersOption = Layers.cnnkern,
) -> dict[str, float]:
    """Trains three networks on generated clips, and measures them on held-out ones."""
    result = Result(folder, "action", "Action recognition: how a digit moves", layers)
    clips, motions = MovingDigits(scenes, held_out=True).batch(range(scenes))
    predicted: dict[str, Tensor] = {}
    for name, model in (("C3D", C3D), ("two-stream", TwoStream), (ONE_FRAME, C3D)):
        torch.manual_seed(0)
        net = model(len(MOTIONS), small=True, layers=layers.namespace)
        train(net, round(STEPS[name] * steps), name)
        shown = one_frame(clips) if name == ONE_FRAME else clips
        with torch.no_grad():
            predicted[name] = torch.cat([net(batch).argmax(1) for batch in shown.split(50)])
    figures = {
        f"{name}: held-out accuracy": float((said == motions).float().mean())
        for name, said in predicted.items()
    }
    figures["chance"] = 1 / len(MOTIONS)
    draw(clips, motions, predicted, folder / "action.png")
    result.write(figures, ["action.png"])
    return figures


if __name__ == "__main__":
    typer.run(main)
