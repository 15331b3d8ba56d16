"""Generator and discriminator of DCGAN, Radford, Metz, Chintala (2016)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers

WIDTHS = (64, 128, 256, 512)  # of the maps with 32, 16, 8 and 4 pixels a side
SMALL_WIDTHS = (32, 64, 128)  # of the maps with 16, 8 and 4


class DCGANGenerator(Model):
    """(N, latent) random numbers to (N, out_channels, 64, 64) images from −1 to 1.

    The first transposed convolution makes 4×4 maps of the numbers, each further one doubles the
    side and halves the channels. Batch normalisation and ReLU between, tanh at the end; no pools
    and no linear layers. ``small`` makes 32×32 pixels, with half the channels.

    >>> net = DCGANGenerator(out_channels=1, small=True)
    >>> net(net.example(2)).shape
    torch.Size([2, 1, 32, 32])
    """

    task = "generation"

    def __init__(
        self,
        out_channels: int = 3,
        latent: int = 100,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (latent,)
        widths = (SMALL_WIDTHS if small else WIDTHS)[::-1]
        modules: list[nn.Module] = [
            layers.ConvTranspose2d(latent, widths[0], kernel_size=4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(widths):
            modules += [
                layers.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        modules.append(layers.ConvTranspose2d(widths[-1], out_channels, 4, stride=2, padding=1))
        self.main = nn.Sequential(*modules, nn.Tanh())
        initialise(self, "normal")

    def forward(self, numbers: Tensor) -> Tensor:
        images: Tensor = self.main(numbers[:, :, None, None])
        return images


class DCGANDiscriminator(Model):
    """(N, in_channels, 64, 64) images to (N,) logits: positive for real, negative for generated.

    The generator's mirror image: convolutions with stride 2 down to 4×4 maps, and one that sees
    these whole. Leaky ReLU; batch normalisation from the second layer on. ``small`` sees 32×32.

    >>> net = DCGANDiscriminator(in_channels=1, small=True)
    >>> net(net.example(2)).shape
    torch.Size([2])
    """

    task = "real or generated"

    def __init__(
        self, in_channels: int = 3, small: bool = False, layers: Layers | None = None
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        side, widths = (32, SMALL_WIDTHS) if small else (64, WIDTHS)
        self.input_shape = (in_channels, side, side)
        modules: list[nn.Module] = [
            layers.Conv2d(in_channels, widths[0], 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for inputs, outputs in pairwise(widths):
            modules += [
                layers.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2),
            ]
        modules.append(layers.Conv2d(widths[-1], 1, kernel_size=4))
        self.main = nn.Sequential(*modules)
        initialise(self, "normal")

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.main(images).flatten()
        return logits
