"""examples/invariance.py: what each change does, and what augmentation does in a few epochs."""

from __future__ import annotations

import invariance as example
import pytest
import torch


@pytest.mark.parametrize("name, nothing", [("translation", 0), ("rotation", 0), ("scale", 1)])
def test_an_amount_of_nothing_changes_nothing(name, nothing):
    change = example.CHANGES[name]
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(change.apply(images, nothing), images)
    assert nothing in change.amounts


def test_changes_go_the_way_that_the_axis_says():
    images = torch.zeros(1, 1, 32, 32)
    images[..., 8:24, 20] = 0.5  # a vertical stroke, right of the centre
    moved = example.CHANGES["translation"].apply(images, 4)
    torch.testing.assert_close(moved[..., 24], images[..., 20])
    turned = example.CHANGES["rotation"].apply(images, 90)  # clockwise: now below the centre
    assert turned[0, 0, 20].sum() > 7 and turned[0, 0, :16].sum() < 1e-3
    assert example.CHANGES["scale"].apply(images, 0.5).sum() < 0.5 * images.sum()
    assert example.CHANGES["illumination"].apply(images, 0.5).max() == pytest.approx(0.25)


def test_augmentation_soon_widens_the_curves_of_translation_and_scale(tmp_path):
    figures = example.main(tmp_path, 4)
    assert figures["unchanged digits, without augmentation"] >= 0.93
    for name in ("translation", "scale"):
        mean = f"{name}, mean of the curve"
        without, augmented = (
            figures[f"{mean}, {text} augmentation"] for text in ("without", "with")
        )
        assert augmented > without + 0.03, name
    assert (tmp_path / "invariance.png").exists()
