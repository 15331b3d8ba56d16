"""cnnkern.attribution on networks whose answer is known, and what LeNet-5 learns."""

from __future__ import annotations

import pytest
import torch
import what_a_network_learns as example
from torch import nn

from cnnkern.attribution import excite, feature_maps, occlusion, saliency


def one_pixel(row, column):
    """Logits 6·x and −6·x of one pixel of 8×8."""
    layer = nn.Linear(64, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, 8 * row + column] = torch.tensor([6.0, -6.0])
    return nn.Sequential(nn.Flatten(), layer)


def test_feature_maps_are_a_layers_output():
    layer = nn.Conv2d(1, 2, 3)
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten())
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(feature_maps(model, layer, images), layer(images))
    assert not layer._forward_hooks
    with pytest.raises(ValueError, match="the layer took no part"):
        feature_maps(model, nn.ReLU(), images)


def test_saliency_and_occlusion_find_the_only_pixel_that_counts():
    model, images = one_pixel(3, 5), torch.full((2, 1, 8, 8), 0.5)
    for classes in (torch.tensor([0, 0]), torch.tensor([1, 1])):
        found = saliency(model, images, classes)
        assert found.shape == (2, 8, 8) and found[0, 3, 5] == 6 and found.count_nonzero() == 2
    lost = occlusion(model, images, torch.tensor([0, 1]), size=3)
    around = lost[0, 2:5, 4:7]
    wanted = torch.sigmoid(torch.tensor(6.0)) - 0.5  # softmax of 3 and −3 less that of 0 and 0
    torch.testing.assert_close(around, wanted.expand(3, 3))
    assert lost[0].count_nonzero() == 9 and torch.allclose(lost[1], -lost[0], atol=1e-6)
    assert torch.equal(
        occlusion(model, images, torch.tensor([0, 1]), 3, stride=2), lost[:, ::2, ::2]
    )
    assert model[1].weight.grad is None


def test_excitation_lights_the_pixel_that_a_unit_wants():
    model = one_pixel(3, 5)
    bright, dark = excite(model, model[1], [0, 1], (1, 8, 8), penalty=0.5)
    assert bright.argmax() == 8 * 3 + 5 and bright[0, 3, 5] > 0.3 and dark[0, 3, 5] < 0.01


def test_lenet5_looks_at_strokes(tmp_path):
    figures = example.main(tmp_path, 4)
    assert figures["held-out accuracy"] >= 0.95
    hidden = figures["most salient 5% of the pixels inverted"]
    assert hidden <= figures["random 5% of the pixels inverted"] - 0.1
    assert figures["probability lost to the worst square, mean"] >= 0.1
    assert figures["exciting images: confidence, mean"] >= 0.9
    assert figures["exciting images: logit over the best real one's"] >= 0.4
    assert len(list(tmp_path.glob("learned_*.png"))) == 5
