"""examples/pose.py: PCK as worked out by hand, and a cascade whose stages help."""

from __future__ import annotations

import json

import pose as example
import torch
from shared import Layers


def test_a_joint_is_found_within_a_fifth_of_the_bodys_diagonal():
    """The diagonal is 0.5, so 0.1 is near enough; the second stage has one joint of 14 right."""
    joints = torch.zeros(1, 14, 2)
    joints[0, example.SHOULDER, 0] = 0.5
    poses = joints[:, None].repeat(1, 2, 1, 1)
    poses[0, 0, :, 1] += 0.099
    poses[0, 1, 1:, 1] += 0.101
    torch.testing.assert_close(example.found(poses, joints), torch.tensor([1.0, 1 / 14]))


def test_each_stage_soon_finds_more_joints_of_held_out_figures(tmp_path):
    """The mean pose, whatever the image, finds one in eight."""
    figures = example.main(tmp_path, 20, 60, Layers.cnnkern)
    assert figures["PCK@0.2 after stage 3"] > figures["PCK@0.2 after stage 1"]
    assert figures["PCK@0.2 after stage 3"] >= 0.25
    result = json.loads((tmp_path / "pose.json").read_text())
    assert result["figures"] == figures and result["command"] == "python examples/pose.py"
    assert (tmp_path / "pose.png").stat().st_size > 10_000
