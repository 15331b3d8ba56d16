"""examples/scene_labelling.py: IoU as worked out by hand, and networks that know sky from road."""

from __future__ import annotations

import json

import scene_labelling as example
import torch
from shared import Layers


def test_intersection_over_union_by_hand():
    labels = torch.tensor([[[0, 0, 1, 1], [2, 3, 4, 4]]])
    predicted = torch.tensor([[[0, 1, 1, 1], [2, 3, 3, 4]]])
    wanted = torch.tensor([1 / 2, 2 / 3, 1, 1 / 2, 1 / 2], dtype=torch.float64)
    torch.testing.assert_close(example.intersection_over_union(predicted, labels), wanted)


def test_both_networks_soon_label_held_out_landscapes(tmp_path):
    """One label for all pixels has a mean IoU of less than 0.1."""
    figures = example.main(tmp_path, 25, 40, Layers.cnnkern)
    assert figures["FCN-8s: mean IoU on held-out scenes"] >= 0.4
    assert figures["U-Net: mean IoU on held-out scenes"] >= 0.4
    result = json.loads((tmp_path / "scene_labelling.json").read_text())
    assert result["figures"] == figures
    assert all((tmp_path / name).stat().st_size > 10_000 for name in result["pictures"])
