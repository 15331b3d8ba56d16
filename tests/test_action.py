"""examples/action.py: motion is seen by networks that see it, and not in one frame."""

from __future__ import annotations

import json

import action as example
import torch
from shared import Layers


def test_one_frame_is_the_middle_one_and_stands_still():
    clips = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(2, 3, 8, 4, 4)
    still = example.one_frame(clips)
    assert still.shape == clips.shape and (still == 4).all()


def test_the_two_stream_network_soon_sees_how_digits_move():
    torch.manual_seed(0)
    clips, motions = example.MovingDigits(100, held_out=True).batch(range(100))
    net = example.TwoStream(8, small=True)
    example.train(net, 100, "two-stream")
    with torch.no_grad():
        assert (net(clips).argmax(1) == motions).float().mean() >= 0.4


def test_all_three_networks_answer_and_leave_their_figures(tmp_path):
    """A few steps teach nothing yet, whoever sees one frame or all."""
    figures = example.main(tmp_path, 2, 100, Layers.cnnkern)
    assert len(figures) == 4 and figures["chance"] == 1 / 8
    result = json.loads((tmp_path / "action.json").read_text())
    assert result["figures"] == figures and result["command"] == "python examples/action.py"
    assert (tmp_path / "action.png").stat().st_size > 10_000
