"""What several commands share: their choices, and what they refuse."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Device(str, Enum):
    cpu = "cpu"
    cuda = "cuda"


TensorDevice = Annotated[Device, typer.Option(help="Where the tensors live.")]


def require(device: Device) -> None:
    """Raises ValueError if there is no such device here."""
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: torch sees no GPU here; use --device cpu "
            "(train --backend emulator runs the CUDA kernels without a GPU)"
        )
