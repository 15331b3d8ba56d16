"""LeNet-5, with the layer sizes of LeCun, Bottou, Bengio, Haffner (1998), figure 2."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class LeNet5(Model):
    """(N, in_channels, 32, 32) images to (N, num_classes) logits.

    The sizes are the paper's: C1 6@28x28, S2 6@14x14, C3 16@10x10, S4 16@5x5, C5 120, F6 84, 10.
    As is usual today, S2 and S4 are max pools, C3 sees all six maps, the non-linearity is ReLU and
    the output layer is linear, trained with cross-entropy.

    Args:
        num_classes, in_channels, layers: as for every network.
        activation: the non-linearity: relu, tanh (near the paper's) or sigmoid.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        layers: Layers | None = None,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"there is no activation named '{activation}'; known: {known}")
        self.activation = ACTIVATIONS[activation]
        layers = layers or default_layers()
        self.input_shape = (in_channels, 32, 32)
        self.c1 = layers.Conv2d(in_channels, 6, kernel_size=5)
        self.s2 = layers.MaxPool2d(kernel_size=2)
        self.c3 = layers.Conv2d(6, 16, kernel_size=5)
        self.s4 = layers.MaxPool2d(kernel_size=2)
        self.c5 = layers.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        initialise(self, "he" if activation == "relu" else "xavier")

    def forward(self, images: Tensor) -> Tensor:
        x = self.s2(self.activation(self.c1(images)))
        x = self.s4(self.activation(self.c3(x)))
        x = self.activation(self.c5(x)).flatten(1)
        x = self.activation(self.f6(x))
        logits: Tensor = self.output(x)
        return logits
