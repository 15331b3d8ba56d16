"""scikit-learn's handwritten digits: 1797 grey images of 8x8 pixels, installed with the package."""

from __future__ import annotations

import torch

from cnnkern.data.dataset import Dataset, fit_to_32, normalized


def load_digits(seed: int = 0) -> Dataset:
    """The digits at 32x32 pixels; ``seed`` draws the stratified fifth that is held out."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    raw = datasets.load_digits()
    train, test = train_test_split(
        range(len(raw.target)), test_size=0.2, stratify=raw.target, random_state=seed
    )
    images = fit_to_32(torch.from_numpy(raw.images).to(torch.float32)[:, None] / 16)
    labels = torch.from_numpy(raw.target).to(torch.int64)
    return normalized("digits", (images[train], labels[train]), (images[test], labels[test]))
