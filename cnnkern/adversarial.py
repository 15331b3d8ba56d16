"""Images that are changed by very little so that a network errs: FGSM and PGD.

With J the cross-entropy of the right classes, an attack goes up J as far as each pixel may change:
FGSM in one step (Goodfellow, Shlens, Szegedy, 2015), PGD in many (Madry et al., 2018).

The networks' mode and their parameters' gradients are left as they are: put a network into
evaluation mode first, unless batch statistics are meant to follow the attack.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gradient_sign(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """sign(∇J) with respect to the pixels: −1, 0 or 1 in the shape of ``images``.

    Args:
        model: maps images to logits (N, K).
        images: (N, C, H, W), in the range that ``model`` takes.
        labels: (N,) int64, the right classes.
    """
    images = images.detach().requires_grad_()
    loss = F.cross_entropy(model(images), labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0].sign()


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float | Tensor,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """x + ε·sign(∇J), cut off below ``low`` and above ``high``.

    Args:
        model, images, labels: as for :func:`gradient_sign`.
        eps: how much a pixel may change; a tensor gives each image its own, such as (N, 1, 1, 1).
        low, high: the range of a pixel.

    Raises:
        ValueError: ``eps`` is negative.
    """
    _require_not_negative("fgsm", eps)
    return (images + eps * gradient_sign(model, images, labels)).clamp(low, high).detach()


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    steps: int = 10,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Steps of 2.5·ε/steps along sign(∇J) from a random start, each followed by a projection.

    The projection keeps every pixel within ``eps`` of its own value and between ``low`` and
    ``high``. The start is drawn from torch's global generator.

    Args:
        model, images, labels, eps, low, high: as for :func:`fgsm`.
        steps: how many; each costs as much as one FGSM.

    Raises:
        ValueError: ``eps`` is negative, or ``steps`` is less than 1.
    """
    _require_not_negative("pgd", eps)
    if steps < 1:
        raise ValueError(f"pgd: steps must be at least 1, but is {steps}")
    least, most = (images - eps).clamp_min(low), (images + eps).clamp_max(high)
    attacked = least + (most - least) * torch.rand_like(images)
    for _ in range(steps):
        moved = attacked + 2.5 * eps / steps * gradient_sign(model, attacked, labels)
        attacked = torch.minimum(torch.maximum(moved, least), most)
    return attacked.detach()


def _require_not_negative(function: str, eps: float | Tensor) -> None:
    smallest = float(torch.as_tensor(eps).min())
    if smallest < 0:
        raise ValueError(f"{function}: eps must not be negative, but is {smallest:g}")
