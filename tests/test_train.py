"""Training: repeatable, resumable, the same on every kernel, and it learns."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnkern
from cnnkern.data import Dataset, load_digits
from cnnkern.demo import EPOCHS
from cnnkern.models import LeNet5, create
from cnnkern.train import Settings, Trainer, evaluate, load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(seed=0)


def first(data: Dataset, train: int, test: int = 64) -> Dataset:
    return replace(
        data,
        train_images=data.train_images[:train],
        train_labels=data.train_labels[:train],
        test_images=data.test_images[:test],
        test_labels=data.test_labels[:test],
    )


class SmallNet(nn.Module):
    """One convolution, one pool, one linear layer."""

    def __init__(self, layers: Any) -> None:
        super().__init__()
        self.conv = layers.Conv2d(1, 4, 3, stride=2)
        self.pool = layers.MaxPool2d(3, 2)
        self.linear = nn.Linear(4 * 7 * 7, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.pool(torch.relu(self.conv(images))).flatten(1))


def make_trainer(data: Dataset, layers: Any, net: Any = LeNet5, **settings: Any) -> Trainer:
    chosen = Settings(**settings)
    torch.manual_seed(chosen.seed)
    return Trainer(net(layers=layers), data, chosen)


def largest_difference(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def test_lenet5_learns_digits(digits: Dataset) -> None:
    """At least 97 % of the held-out fifth, with `make demo`'s settings."""
    trainer = make_trainer(digits, cnnkern)
    for _ in range(EPOCHS):
        trainer.run_epoch()
    assert trainer.evaluate().accuracy >= 0.97


def test_first_50_losses_equal_those_on_torch_layers(digits: Dataset) -> None:
    # At a greater rate the first steps amplify rounding so much that PyTorch's curve in
    # channels_last departs from its own in contiguous by more than 1e-4.
    data, settings = first(digits, train=800), {"batch_size": 16, "lr": 0.001}
    ours = make_trainer(data, cnnkern, **settings)
    theirs = make_trainer(data, torch.nn, **settings)
    ours.run_epoch(), theirs.run_epoch()
    assert len(ours.history.step_losses) == 50
    assert sum(theirs.history.step_losses[-5:]) < 0.6 * sum(theirs.history.step_losses[:5])
    assert largest_difference(ours.history.step_losses, theirs.history.step_losses) < 1e-4


def test_googlenet_trains_its_auxiliary_classifiers_too(digits: Dataset) -> None:
    trainer = make_trainer(first(digits, train=64), cnnkern, small_googlenet)
    aux = trainer.model.get_parameter("aux1.fc2.weight")
    before = aux.clone()
    epoch = trainer.run_epoch()
    assert not torch.equal(before, aux)
    # Three classifiers' losses, each about log 10 at first, weighed 1 + 0.3 + 0.3.
    assert trainer.history.step_losses[0] > 1.3 * math.log(10)
    assert 0 <= epoch.train_accuracy <= 1


def small_googlenet(layers: Any) -> nn.Module:
    return create("googlenet_small", num_classes=10, in_channels=1, layers=layers)


@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
def test_emulated_cuda_kernels_train_alike(digits: Dataset, device: str) -> None:
    """Three steps of a small net on the CUDA kernels, run by the emulator."""
    if not cnnkern.info().emulator:
        pytest.skip("the emulator's library is not built: python tools/build.py")
    data = first(digits, train=12, test=4)
    theirs = make_trainer(data, torch.nn, SmallNet, batch_size=4)
    theirs.run_epoch()
    ours = make_trainer(data, cnnkern, SmallNet, batch_size=4)
    with cnnkern.backend("emulator", device):
        ours.run_epoch()
    assert len(ours.history.step_losses) == 3
    assert largest_difference(ours.history.step_losses, theirs.history.step_losses) < 1e-4


def test_same_seed_same_bits(digits: Dataset) -> None:
    data = first(digits, train=128)
    a, b = (make_trainer(data, cnnkern) for _ in range(2))
    a.run_epoch()
    torch.rand(7)  # somebody else draws numbers in between
    b.run_epoch()
    assert a.history == b.history
    other = make_trainer(data, cnnkern, seed=1)
    other.run_epoch()
    assert a.history.step_losses != other.history.step_losses


def test_resumed_run_equals_uninterrupted_run(digits: Dataset, tmp_path: Path) -> None:
    data, file = first(digits, train=128), tmp_path / "folder" / "run.pt"
    whole = make_trainer(data, cnnkern)
    for _ in range(3):
        whole.run_epoch()

    begun = make_trainer(data, cnnkern)
    begun.run_epoch()
    save_checkpoint(file, begun.checkpoint())
    resumed = make_trainer(data, cnnkern)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.zero_()
    resumed.resume(load_checkpoint(file))
    for _ in range(2):
        resumed.run_epoch()

    assert resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"], "no temporary file is left"


def test_an_interrupted_write_leaves_the_old_checkpoint(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, file = make_trainer(first(digits, train=32), cnnkern), tmp_path / "run.pt"
    save_checkpoint(file, trainer.checkpoint())
    before = file.read_bytes()

    def broken_save(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken_save)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(file, trainer.checkpoint())
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_resume_refuses_what_does_not_fit(digits: Dataset, tmp_path: Path) -> None:
    data, file = first(digits, train=32), tmp_path / "run.pt"
    save_checkpoint(file, make_trainer(data, cnnkern).checkpoint())
    checkpoint = load_checkpoint(file)
    with pytest.raises(ValueError, match=r"trained with lr=0.01, but now lr=0.5"):
        make_trainer(data, cnnkern, lr=0.5).resume(checkpoint)
    with pytest.raises(ValueError, match="belongs to another model"):
        make_trainer(data, cnnkern, SmallNet).resume(checkpoint)
    with pytest.raises(ValueError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a checkpoint of cnnkern"):
        load_checkpoint(file)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Settings(**wrong)


def test_evaluation_counts_and_averages() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    images = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
    result = evaluate(Fixed(), images, torch.tensor([0, 1, 1]), batch_size=2)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.predictions.tolist() == [0, 1, 0]
    right, wrong = 0.126928, 2.126928  # −log softmax of (2, 0)
    assert result.loss == pytest.approx((2 * right + wrong) / 3, rel=1e-5)
