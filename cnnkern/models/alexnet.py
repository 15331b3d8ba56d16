"""AlexNet, as Krizhevsky (2014) made it fit one GPU; parameter names are torchvision's."""

from __future__ import annotations

from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers


class AlexNet(Model):
    """(N, in_channels, H, W) images to (N, num_classes) logits.

    Five convolutions, three max pools that overlap (3×3, stride 2), three linear layers with
    dropout. ``small`` is for 32×32 pixels: the first filters are 5×5 with stride 1 instead of
    11×11 with stride 4, and layers are a quarter as wide.

    >>> net = AlexNet(num_classes=10, small=True)
    >>> net(net.example()).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (in_channels, 32, 32) if small else (in_channels, 224, 224)
        c1, c2, c3, c4, c5 = (16, 48, 96, 64, 64) if small else (64, 192, 384, 256, 256)
        side, hidden = (3, 256) if small else (6, 4096)
        filter, stride = (5, 1) if small else (11, 4)
        self.features = nn.Sequential(
            layers.Conv2d(in_channels, c1, kernel_size=filter, stride=stride, padding=2),
            nn.ReLU(),
            layers.MaxPool2d(kernel_size=3, stride=2),
            layers.Conv2d(c1, c2, kernel_size=5, padding=2),
            nn.ReLU(),
            layers.MaxPool2d(kernel_size=3, stride=2),
            layers.Conv2d(c2, c3, kernel_size=3, padding=1),
            nn.ReLU(),
            layers.Conv2d(c3, c4, kernel_size=3, padding=1),
            nn.ReLU(),
            layers.Conv2d(c4, c5, kernel_size=3, padding=1),
            nn.ReLU(),
            layers.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = layers.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(c5 * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        initialise(self, "he")

    def forward(self, images: Tensor) -> Tensor:
        x = self.avgpool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits
