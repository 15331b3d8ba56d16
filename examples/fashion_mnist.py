"""LeNet-5 tells clothes apart, and which it confuses: Fashion-MNIST of Xiao et al. (2017).

python examples/fashion_mnist.py [FOLDER] [--epochs N] [--layers torch]    (out/gallery)

Needs Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import typer
from confusion_sets import show
from shared import GALLERY, Epochs, Folder, Layers, LayersOption, Result, load_installed, train

from cnnkern.train import Settings


def main(
    folder: Folder = GALLERY, epochs: Epochs = 12, layers: LayersOption = Layers.cnnkern
) -> dict[str, float]:
    """Trains LeNet-5 on 60,000 pictures and shows which of 10,000 others it confuses."""
    data = load_installed("fashion-mnist")
    result = Result(folder, "fashion_mnist", "LeNet-5 on Fashion-MNIST", layers)
    settings = Settings(
        batch_size=64, lr=0.002, optimizer="adamw", schedule="one-cycle", epochs=epochs, augment=()
    )
    return show(train("lenet5", data, settings, layers).model, data, result)


if __name__ == "__main__":
    typer.run(main)
