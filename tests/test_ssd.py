"""The single-shot detector: torchvision's weights, default boxes and offsets; loss, detection."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.image_list import ImageList

from cnnkern.models import create
from cnnkern.models.ssd import SSDOutputs
from cnnkern.models.ssd_boxes import Truth, decode, encode, match, multibox_loss


def random_boxes(n, least=0.2):
    corner = torch.rand(n, 2) * (1 - least)
    size = least + torch.rand(n, 2) * (1 - least - corner)
    return torch.cat([corner, corner + size], 1)


def test_torchvisions_weights_load_and_give_its_outputs():
    torch.manual_seed(0)
    theirs = torchvision.models.detection.ssd300_vgg16(
        weights=None, weights_backbone=None, num_classes=4
    ).eval()
    ours = create("ssd", num_classes=4).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(1, 3, 300, 300)
    with torch.no_grad():
        maps = list(theirs.backbone(images).values())
        wanted = theirs.head(maps)
        found = ours(images)
        boxes = theirs.anchor_generator(ImageList(images, [(300, 300)]), maps)[0] / 300
    pairs = (found.offsets, wanted["bbox_regression"]), (found.logits, wanted["cls_logits"])
    for ours_, theirs_ in pairs:
        assert ours_.shape == theirs_.shape and ours_.shape[1] == 8732
        assert float((ours_ - theirs_).norm()) <= 1e-5 * float(theirs_.norm())
    torch.testing.assert_close(ours.default_boxes, boxes)


def test_offsets_are_torchvisions():
    torch.manual_seed(0)
    defaults, boxes = random_boxes(50), random_boxes(50)
    coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
    offsets = encode(boxes, defaults)
    torch.testing.assert_close(offsets, coder.encode_single(boxes, defaults), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decode(offsets, defaults), boxes)
    assert bool(decode(torch.full((50, 4), 1e4), defaults).isfinite().all())


def test_matching():
    defaults = torch.tensor(
        [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0.05, 0, 0.5, 0.5], [0.9, 0, 1, 0.1]]
    )
    # The first object overlaps two boxes; the second only a little, but its best box is to find it.
    truth = Truth(torch.tensor([[0, 0, 0.5, 0.5], [0.95, 0, 1, 0.05]]), torch.tensor([3, 7]))
    label, number = match(truth, defaults)
    assert label.tolist() == [3, 0, 3, 7]
    assert number[[0, 2, 3]].tolist() == [0, 0, 1]
    label, _ = match(Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)), defaults)
    assert label.tolist() == [0, 0, 0, 0]


def test_loss_counts_objects_and_three_hard_negatives_each():
    torch.manual_seed(0)
    defaults = torch.tensor([[i / 10, 0, (i + 1) / 10, 0.1] for i in range(10)])
    truth = Truth(defaults[4:5].clone(), torch.tensor([1]))
    offsets, logits = torch.zeros(1, 10, 4), torch.randn(1, 10, 3)
    offsets[0, 4, 0] = 0.5  # smooth L1 of 0.5: 0.125
    offsets[0, 5] = 9.0  # of no object: does not count
    losses = -F.log_softmax(logits[0], 1)
    others = [float(losses[i, 0]) for i in range(10) if i != 4]
    wanted = 0.125 + float(losses[4, 1]) + sum(sorted(others)[-3:])
    found = multibox_loss(offsets, logits, defaults, [truth])
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_what_is_encoded_is_detected_and_doubles_are_suppressed():
    model = create("ssd_small", num_classes=5)
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.6, 0.5, 0.9, 0.9]])
    truth = Truth(boxes, torch.tensor([2, 4]))
    label, number = match(truth, model.default_boxes)
    assert int((label == 2).sum()) > 1  # more boxes than one see the first object
    offsets = encode(boxes[number], model.default_boxes)
    logits = 5.0 * F.one_hot(label, 5)
    logits[label == 4] *= 2
    (found,) = model.detect(SSDOutputs(offsets[None], logits[None]))
    assert found.labels.tolist() == [4, 2]
    torch.testing.assert_close(found.boxes, boxes.flip(0))
    assert found.scores[1].item() == pytest.approx(math.exp(5) / (math.exp(5) + 4), rel=1e-4)


def test_learns_two_scenes_by_heart():
    torch.manual_seed(0)
    model = create("ssd_small", num_classes=3)
    images = torch.zeros(2, 3, 64, 64)
    images[0, 0, 8:24, 8:24] = 1  # class 1: a red square
    images[1, 2, 30:50, 20:56] = 1  # class 2: a blue rectangle
    images[1, 0, 4:24, 4:24] = 1
    truths = [
        Truth(torch.tensor([[8, 8, 24, 24]]) / 64, torch.tensor([1])),
        Truth(torch.tensor([[20, 30, 56, 50], [4, 4, 24, 24]]) / 64, torch.tensor([2, 1])),
    ]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(model(images), truths).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.detect(model(images))  # by statistics of the batch, as in training
    for detection, truth in zip(found, truths):
        assert sorted(detection.labels.tolist()) == sorted(truth.labels.tolist())
        for box, label in zip(truth.boxes, truth.labels):
            (mine,) = detection.boxes[detection.labels == label]
            assert float((mine - box).abs().max()) < 3 / 64


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="images must be 64×64, not 32×64"):
        create("ssd_small")(torch.zeros(1, 3, 32, 64))
