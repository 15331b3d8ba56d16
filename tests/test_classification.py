"""The classification examples beside confusion_sets.py: what they read, and what they compare."""

from __future__ import annotations

import fashion_mnist
import layers_compared
import pytest
import torch
import typer

from cnnkern.data import NotInstalledError, load_fashion_mnist


def test_both_kinds_of_layers_learn_alike_from_one_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(layers_compared, "NETWORKS", {"LeNet-5": "lenet5"})
    figures = layers_compared.main(tmp_path, 3)
    assert figures["LeNet-5: losses of the first 5 steps, apart by"] < 1e-4
    accuracy, other = figures["LeNet-5: accuracy"], figures["LeNet-5: accuracy on torch.nn"]
    assert accuracy > 0.9
    assert abs(accuracy - other) <= 2 * figures["LeNet-5: standard error of the latter"]
    speed = "LeNet-5: speed in times torch.nn's, median of the epochs"
    assert figures[speed] > 0 and figures["LeNet-5: images a second"] > 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".png"}


def test_an_example_without_its_data_ends_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cnnkern.data.sources.FASHION_MNIST", tmp_path / "absent")
    with pytest.raises(typer.Exit) as ended:
        fashion_mnist.main(tmp_path)
    assert ended.value.exit_code == 0
    assert "Debian's package dataset-fashion-mnist brings it" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_fashion_mnist_as_debian_installs_it():
    try:
        data = load_fashion_mnist(28)
    except NotInstalledError as missing:
        pytest.skip(str(missing))
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert torch.bincount(data.test_labels).tolist() == [1000] * 10
    lit = data.pixels(data.test_images) > 0.1
    shares = [float(lit[data.test_labels == label].float().mean()) for label in range(10)]
    assert data.class_names[shares.index(min(shares))] == "sandal"
