"""Initial weights by name: the first hyper-parameter of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

NORMAL_STD = 0.02  # of DCGAN's authors; Krizhevsky's 0.01 is for images that are not normalised


def _he(weight: Tensor, mode: str) -> None:
    nn.init.kaiming_normal_(weight, mode=mode, nonlinearity="relu")  # type: ignore[arg-type]


_SCHEMES: dict[str, Callable[[Tensor, str], object]] = {
    "he": _he,
    "xavier": lambda weight, mode: nn.init.xavier_normal_(weight),
    "normal": lambda weight, mode: nn.init.normal_(weight, std=NORMAL_STD),
    "orthogonal": lambda weight, mode: nn.init.orthogonal_(weight),
}


def schemes() -> list[str]:
    """The names that :func:`initialise` knows, sorted."""
    return sorted(_SCHEMES)


def initialise(model: nn.Module, scheme: str) -> None:
    """Overwrites the weights of all layers, by torch's global generator.

    * ``he``: normal, variance 2/inputs, which keeps the variance through ReLU (He et al., 2015)
    * ``xavier``: normal, variance 2/(inputs + outputs), for tanh (Glorot and Bengio, 2010)
    * ``normal``: normal with standard deviation 0.02, whatever the size of the layer
    * ``orthogonal``: a random orthogonal matrix, outputs × inputs (Saxe et al., 2014)

    Biases become 0. A normalisation begins as the identity. Embeddings are standard normal, the
    padding's zero: they are inputs, not sums of inputs.

    >>> layer = nn.Linear(1000, 10)
    >>> initialise(layer, "normal")
    >>> round(layer.weight.std().item(), 2), layer.bias.any().item()
    (0.02, False)

    Raises:
        ValueError: there is no scheme of that name.
    """
    if scheme not in _SCHEMES:
        known = ", ".join(schemes())
        raise ValueError(f"there is no initialisation named '{scheme}'; known: {known}")
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.reset_parameters()
            continue
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
            continue
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(weight, nn.Parameter) and weight.ndim >= 2:
            # A transposed convolution's weights are (inputs, outputs, window...).
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            with torch.no_grad():
                _SCHEMES[scheme](weight, "fan_out" if transposed else "fan_in")
                if isinstance(bias, nn.Parameter):
                    bias.zero_()
