"""Small GoogLeNet and small AlexNet read OpenCV's 5,000 handwritten digits.

python examples/opencv_digits.py [FOLDER] [--layers torch]    (out/gallery if not given)

Needs Debian's package opencv-doc.
"""

from __future__ import annotations

import typer
from shared import GALLERY, Folder, Layers, LayersOption, Result, load_installed, train

from cnnkern.train import Settings
from cnnkern.visualize import compare_runs, misclassified

AUGMENT = ("translate", "rotate")
# Batch normalisation takes the full learning rate at once; without it, AlexNet is warmed up.
NETWORKS = {
    "GoogLeNet": (
        "googlenet_small",
        Settings(epochs=16, lr=0.002, optimizer="adamw", schedule="cosine", augment=AUGMENT),
    ),
    "AlexNet": (
        "alexnet_small",
        Settings(epochs=16, lr=0.002, optimizer="adamw", schedule="one-cycle", augment=AUGMENT),
    ),
}


def main(folder: Folder = GALLERY, layers: LayersOption = Layers.cnnkern) -> dict[str, float]:
    """Trains both on 4,000 digits, moved and turned at random; 1,000 others are held out."""
    data = load_installed("opencv-digits")
    result = Result(folder, "opencv_digits", "Small GoogLeNet and AlexNet on 5,000 digits", layers)
    runs, figures, pictures = {}, {}, ["opencv_digits.png"]
    for title, (name, settings) in NETWORKS.items():
        trainer = train(name, data, settings, layers)
        runs[title] = trainer.history
        evaluation = trainer.evaluate()
        figures[f"{title}, held-out accuracy"] = evaluation.accuracy
        pictures.append(f"opencv_digits_{name}.png")
        misclassified(data.pixels(data.test_images), evaluation, folder / pictures[-1])
    compare_runs({"OpenCV's digits": runs}, folder / pictures[0])
    result.write(figures, pictures)
    return figures


if __name__ == "__main__":
    typer.run(main)
