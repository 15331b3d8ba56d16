"""examples/detection.py: precision as worked out by hand, and a detector that finds digits."""

from __future__ import annotations

import json

import detection as example
import pytest
import torch
from shared import Layers

from cnnkern.models.ssd_boxes import Detection, Truth


def boxes(*lefts):
    """Boxes 0.2 wide and high that begin at these places."""
    return torch.tensor([[x, 0.0, x + 0.2, 0.2] for x in lefts])


def test_average_precision_by_hand():
    """Four objects; the surest box is right, the second wrong, the third right, the last too late.

    Precision is 1 at a recall of 1/4 and 2/3 at 2/4: the area is (1 + 2/3) / 4.
    """
    truths = [
        Truth(boxes(0.0, 0.5), torch.tensor([3, 3])),
        Truth(boxes(0.0, 0.5, 0.5), torch.tensor([3, 3, 4])),
    ]
    found = [
        Detection(boxes(0.01, 0.02), torch.tensor([3, 3]), torch.tensor([0.9, 0.2])),
        Detection(boxes(0.8, 0.49, 0.0), torch.tensor([3, 3, 5]), torch.tensor([0.8, 0.7, 0.99])),
    ]
    assert example.average_precision(found, truths, 3) == pytest.approx((1 + 2 / 3) / 4)
    assert example.average_precision(found, truths, 4) == 0
    assert example.mean_average_precision(found, truths) == pytest.approx((1 + 2 / 3) / 8)


def test_perfect_boxes_have_precision_1_and_none_0():
    truths = [Truth(boxes(0.0, 0.5), torch.tensor([1, 2])), Truth(boxes(0.3), torch.tensor([1]))]
    perfect = [Detection(*truth, torch.ones(len(truth.labels))) for truth in truths]
    assert example.mean_average_precision(perfect, truths) == 1
    empty = Detection(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert example.mean_average_precision([empty, empty], truths) == 0


def test_places_are_found_once_whatever_the_digit():
    truths = [Truth(boxes(0.0, 0.5), torch.tensor([1, 2]))]
    twice = Detection(boxes(0.0, 0.01, 0.5), torch.tensor([1, 7, 7]), torch.tensor([0.9, 0.8, 0.7]))
    assert example.average_precision(*example.places([twice], truths), label=1) == 1


def test_a_detector_soon_knows_where_digits_are_in_held_out_scenes(tmp_path):
    """Untrained it has a precision of 0.01; which digit it is takes the whole run."""
    figures = example.main(tmp_path, 50, 40, Layers.cnnkern)
    assert figures["AP@0.5 of places, whatever the digit"] >= 0.12
    result = json.loads((tmp_path / "detection.json").read_text())
    assert result["figures"] == figures and result["command"] == "python examples/detection.py"
    assert (tmp_path / "detection.png").stat().st_size > 10_000
