"""examples/pretraining.py: autoencoders reconstruct, and what they learned is carried over."""

from __future__ import annotations

import pretraining as example
import torch
from shared import Layers

from cnnkern.models import LeNet5


def test_a_decoder_undoes_the_shape_of_its_stage():
    model = LeNet5()
    x = torch.rand(2, 1, 32, 32)
    for stage in example.stages(model):
        code = stage(x)
        assert example.decoder(stage, Layers.cnnkern)(code).shape == x.shape
        x = code


def test_stages_end_where_the_classifier_begins():
    model, x = LeNet5(), torch.rand(2, 1, 32, 32)
    code = x
    for stage in example.stages(model):
        code = stage(code)
    torch.testing.assert_close(model.output(model.f6(code.flatten(1)).relu()), model(x))


def test_pretraining_reconstructs_and_helps_with_few_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "LABELS", (100, 300))
    figures = example.main(tmp_path, 4, seeds=1)
    errors = [figures[f"layer {k}: error of the reconstruction"] for k in (1, 2, 3)]
    assert errors[0] < 0.2 and max(errors) < 0.7
    for name in ("from scratch", "pre-trained"):
        assert figures[f"100 labels, {name}"] >= 0.75
        assert figures[f"300 labels, {name}"] > figures[f"100 labels, {name}"]
    assert len(list(tmp_path.glob("*.png"))) == 2
