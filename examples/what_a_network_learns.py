"""What LeNet-5 has learned: its filters, its maps, what excites its units, what it looks at.

python examples/what_a_network_learns.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)
"""

from __future__ import annotations

import torch
import typer
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result, on_pixels, train_lenet5
from torch import Tensor, nn

from cnnkern.attribution import excite, feature_maps, occlusion, saliency
from cnnkern.data import load_digits
from cnnkern.visualize import filters, heat_maps, image_grid

INVERTED = 0.05  # of the pixels, when the most salient ones are exchanged with their opposites
SQUARE = 7  # pixels a side of what occlusion hides


def invert(images: Tensor, importance: Tensor) -> Tensor:
    """Images (N, 1, H, W) with black for white in their most important pixels, by (N, H, W)."""
    flat = images.flatten(1)
    most = importance.flatten(1).topk(round(INVERTED * flat.shape[1])).indices
    return flat.scatter(1, most, 1 - flat.gather(1, most)).view_as(images)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def main(
    folder: Folder = GALLERY, epochs: Epochs = 15, layers: LayersOption = Layers.cnnkern
) -> dict[str, float]:
    """Trains LeNet-5 on digits and looks into it."""
    result = Result(folder, "what_a_network_learns", "What a network learns", layers)
    data = load_digits()
    lenet = train_lenet5(data, epochs, layers).model
    model = on_pixels(lenet, data)
    pixels, labels = data.pixels(data.test_images).clamp(0, 1), data.test_labels
    digits = torch.stack([(labels == k).nonzero()[0, 0] for k in range(10)])  # one of each

    filters(lenet, folder / "learned_filters.png")

    with torch.no_grad():
        first = feature_maps(model, lenet.c1, pixels[digits[3:4]])[0].relu()
        second = feature_maps(model, lenet.c3, pixels[digits[3:4]])[0].relu()
    larger = nn.functional.interpolate(second[None], size=first.shape[-2:])[0]
    shown = torch.cat([nn.functional.pad(pixels[digits[3]], (-2, -2, -2, -2)), first, larger[:14]])
    title = "A digit, its six maps of the first layer, and 14 of the second layer"
    image_grid(shown, 7, title, folder / "learned_feature_maps.png")

    drawn = excite(model, lenet.output, range(10), (1, 32, 32))
    of_c3 = excite(model, lenet.c3, range(10), (1, 32, 32))
    title = "Images that most excite ten units of the second layer (above) and the ten answers"
    image_grid(torch.cat([of_c3, drawn])[:, 0], 10, title, folder / "learned_excitation.png")

    lost = occlusion(model, pixels[digits], torch.arange(10), SQUARE, stride=2)
    salient = saliency(model, pixels, labels)
    titles = [f"digit {k}" for k in range(10)]
    label = f"probability lost with {SQUARE}×{SQUARE} pixels hidden"
    heat_maps(pixels[digits], lost.clamp_min(0), titles, label, folder / "learned_occlusion.png")
    relative = salient[digits] / salient[digits].amax((1, 2), keepdim=True)
    label = "|∂logit/∂pixel|, of the largest"
    heat_maps(pixels[digits], relative, titles, label, folder / "learned_saliency.png")

    with torch.no_grad():
        excited = model(drawn).softmax(1).diagonal()
        best_real = model(pixels).amax(0)
        ratio = (model(drawn).diagonal() / best_real).mean()
    share = f"{INVERTED:.0%} of the pixels inverted"
    worst, chance = (invert(pixels, by) for by in (salient, torch.rand_like(salient)))
    figures = {
        "held-out accuracy": accuracy(model, pixels, labels),
        f"most salient {share}": accuracy(model, worst, labels),
        f"random {share}": accuracy(model, chance, labels),
        "probability lost to the worst square, mean": float(lost.amax((1, 2)).mean()),
        "exciting images: confidence, mean": float(excited.mean()),
        "exciting images: logit over the best real one's": float(ratio),
    }
    names = ("filters", "feature_maps", "excitation", "occlusion", "saliency")
    result.write(figures, [f"learned_{name}.png" for name in names])
    return figures


if __name__ == "__main__":
    typer.run(main)
