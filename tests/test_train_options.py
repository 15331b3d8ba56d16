"""Losses, optimisers, schedules, augmentations, logs, stops between steps, and predictions."""

import csv
import importlib.util
import math
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from test_cli import run
from test_data_folders import colours
from test_train import first
from torch import Tensor, nn

from cnnkern.data import Dataset, load_digits
from cnnkern.models import LeNet5
from cnnkern.train import (
    Settings,
    Stopped,
    Trainer,
    csv_log,
    fit,
    load_checkpoint,
    load_predictor,
    probabilities,
    save_checkpoint,
    tensorboard_log,
)
from cnnkern.train.augment import AUGMENTATIONS, Augment
from cnnkern.train.settings import mean_squared_error
from cnnkern.visualize import compare_runs

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return first(load_digits(seed=0), train=64)


class Moody(nn.Module):
    """Draws from every generator that a network may draw from, and has running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.linear = nn.Linear(32 * 32, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.dropout(self.norm(images), training=self.training)
        if self.training:
            x = x * (1 + 0.1 * random.random()) + 0.1 * float(np.random.rand())
        return self.linear(x.flatten(1))


def make(digits: Dataset, model: type[nn.Module] = Moody, **settings: object) -> Trainer:
    torch.manual_seed(0)
    return Trainer(model(), digits, Settings(batch_size=16, epochs=3, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "optimizer"),
    [("exponential", "sgd"), ("cosine", "adamw"), ("step", "sgd"), ("one-cycle", "adamw")],
)
def test_stopped_between_any_two_steps_a_run_ends_with_the_same_bits(
    digits: Dataset, tmp_path: Path, schedule: str, optimizer: str
) -> None:
    def trainer() -> Trainer:
        return make(digits, schedule=schedule, optimizer=optimizer, augment=("photometric",))

    whole, file = trainer(), tmp_path / "run.pt"
    fit(whole, 3, QUIET)
    assert len(whole.history.step_losses) == 12
    for step in range(1, 12):
        begun = trainer()
        if file.exists():
            begun.resume(load_checkpoint(file))
        with pytest.raises(Stopped):
            while True:
                begun.run_epoch(stop=lambda: True)
        save_checkpoint(file, begun.checkpoint())
        assert len(load_checkpoint(file).history.step_losses) == step
    last = trainer()
    last.resume(load_checkpoint(file))
    torch.rand(3), np.random.rand(3), random.random()
    fit(last, 3, QUIET)
    assert last.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, last.model.state_dict()[name]), name


def test_schedules_have_their_form(digits: Dataset) -> None:
    def rates(schedule: str) -> list[float]:
        trainer = make(digits, schedule=schedule, augment=())
        fit(trainer, 3, QUIET)
        return [epoch.lr for epoch in trainer.history.epochs]

    assert rates("step") == pytest.approx([0.01, 0.001, 0.0001])
    assert rates("exponential") == pytest.approx([0.01, 0.009, 0.0081])
    cosine = [0.005 * (1 + math.cos(math.pi * step / 12)) for step in (3, 7, 11)]
    assert rates("cosine") == pytest.approx(cosine)
    first_third, second_third, end = rates("one-cycle")
    assert first_third > 0.008 > second_third > 0.001 > end


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_saves(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
) -> None:
    trainer, file, before = make(digits), tmp_path / "run.pt", signal.getsignal(kind)
    forward = trainer.model.forward

    def interrupted(images: Tensor) -> Tensor:
        if len(trainer.history.step_losses) == 2:
            signal.raise_signal(kind)
        logits: Tensor = forward(images)
        return logits

    monkeypatch.setattr(trainer.model, "forward", interrupted)
    with pytest.raises(Stopped, match=r"stopped in epoch 1, after step 3; --resume .*run.pt goes"):
        fit(trainer, 3, QUIET, checkpoint=file)
    assert load_checkpoint(file).partial["steps"] == 3
    assert signal.getsignal(kind) is before


def test_mean_squared_error_is_that_of_probabilities() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    p = 0.880797  # softmax of (2, 0)
    expected = (2 * (1 - p) ** 2 + 2 * 0.25) / 4
    assert mean_squared_error(logits, torch.tensor([0, 1])).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_every_loss_and_activation_learns(digits: Dataset, loss: str, activation: str) -> None:
    torch.manual_seed(0)
    settings = Settings(batch_size=16, lr=0.003, optimizer="adamw", loss=loss, augment=())
    trainer = Trainer(LeNet5(activation=activation), digits, settings)
    losses = [trainer.run_epoch().train_loss for _ in range(6)]
    assert losses[-1] < 0.97 * losses[0]


def test_the_experiment_draws_each_loss_and_activation(digits: Dataset, tmp_path: Path) -> None:
    file = Path(__file__).parent.parent / "examples/losses_and_activations.py"
    spec = importlib.util.spec_from_file_location("losses_and_activations", file)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    runs = example.compare(digits, 2, QUIET)
    assert [*runs] == ["cross-entropy", "mse"]
    losses = [run.epochs[-1].test_loss for runs_of in runs.values() for run in runs_of.values()]
    assert len(set(losses)) == 6, "every run is another"
    picture = compare_runs(runs, tmp_path / "runs.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bfloat16_trains_nearly_alike(digits: Dataset) -> None:
    exact, rough = make(digits, LeNet5, augment=()), make(digits, LeNet5, augment=(), amp="bf16")
    a, b = exact.run_epoch(), rough.run_epoch()
    assert a.train_loss != b.train_loss
    assert b.train_loss == pytest.approx(a.train_loss, rel=0.05)
    assert {p.dtype for p in rough.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_images_by_their_seeds(digits: Dataset, name: str) -> None:
    augment, images = Augment([name], digits), digits.train_images[:8]
    once, again = augment(images, range(8)), augment(images, range(8))
    assert once.shape == images.shape and torch.equal(once, again)
    assert torch.equal(augment(images[3:5], [3, 4]), once[3:5]), "whatever else is in the batch"
    assert not torch.equal(augment(images, range(8, 16)), once)
    pixels = digits.pixels(once)
    assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5
    if name == "mirror":
        for before, after in zip(images, once):
            equal = torch.allclose(after, before, atol=1e-5)
            assert equal or torch.allclose(after, before.flip(-1), atol=1e-5)


def test_what_cannot_be_augmented_is_refused(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="texts cannot be augmented"):
        Augment(["crop"], replace(digits, vocabulary=("word",)))
    five = replace(digits, train_images=digits.train_images.expand(-1, 5, -1, -1))
    with pytest.raises(ValueError, match="takes images of 1 or 3 channels, not 5"):
        Augment(["photometric"], five)


def test_the_csv_log_has_a_row_an_epoch_also_after_a_resume(
    digits: Dataset, tmp_path: Path
) -> None:
    trainer, file = make(digits), tmp_path / "log.csv"
    fit(trainer, 1, QUIET, logs=[csv_log(file)])
    fit(trainer, 3, QUIET, logs=[csv_log(file)])
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["test_loss"]) for row in rows] == [
        epoch.test_loss for epoch in trainer.history.epochs
    ]


def test_tensorboard_gets_steps_and_epochs(digits: Dataset, tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed",
    )
    trainer = make(digits)
    fit(trainer, 1, QUIET)
    fit(trainer, 2, QUIET, logs=[tensorboard_log(tmp_path, trainer.history)])
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("step/loss")] == [5, 6, 7, 8]
    (event,) = events.Scalars("epoch/test_loss")
    assert event.value == pytest.approx(trainer.history.epochs[1].test_loss)


def test_without_tensorboard_a_sentence_says_how_to_get_it(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(RuntimeError, match=r"pip install 'cnnkern\[tensorboard\]'"):
        tensorboard_log(tmp_path, make(digits).history)


def test_a_damaged_or_foreign_checkpoint_is_named(digits: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    save_checkpoint(file, make(digits, LeNet5).checkpoint())
    whole = file.read_bytes()
    for place in range(100, len(whole), len(whole) // 40):
        file.write_bytes(whole[:place])
        with pytest.raises(ValueError, match="not a checkpoint of cnnkern"):
            load_checkpoint(file)
        changed = bytes([whole[place] ^ 64])
        file.write_bytes(whole[:place] + changed + whole[place + 1 :])
        try:  # torch aligns its tensors with bytes that mean nothing
            loaded = load_checkpoint(file)
        except ValueError as error:
            assert "run.pt" in str(error)
        else:
            for name, value in make(digits, LeNet5).model.state_dict().items():
                assert torch.equal(value, loaded.model[name]), "a damage passed unnoticed"
    torch.save({"model": {}}, file)
    with pytest.raises(ValueError, match="not a checkpoint of cnnkern"):
        load_checkpoint(file)


def test_other_data_is_refused(digits: Dataset) -> None:
    checkpoint = make(digits).checkpoint()
    with pytest.raises(ValueError, match=r"on other data \(name: digits, now clothes\)"):
        make(replace(digits, name="clothes")).resume(checkpoint)
    with pytest.raises(ValueError, match="trained with loss=cross-entropy, but now loss=mse"):
        make(digits, loss="mse").resume(checkpoint)
    make(digits, seed=0).resume(checkpoint)


def test_ten_crop_averages_over_crops_and_mirrors() -> None:
    class Corner(nn.Module):
        """Class 1 where the upper left pixel is bright, else class 0."""

        def forward(self, images: Tensor) -> Tensor:
            bright = 200 * (images[:, 0, 0, 0] - 0.5)
            return torch.stack([-bright, bright], 1)

    images = torch.zeros(2, 1, 28, 28)
    images[1, :, :, :6] = 1  # a bright left rim, which the crops on the right do not begin with
    assert probabilities(Corner(), images)[:, 1].tolist() == pytest.approx([0, 1])
    five = probabilities(Corner(), images, "five-crop")[:, 1]
    ten = probabilities(Corner(), images, "ten-crop")[:, 1]
    assert five.tolist() == pytest.approx([0, 1], abs=1e-6)
    assert ten.tolist() == pytest.approx([0, 0.5], abs=1e-6)
    with pytest.raises(ValueError, match="average must be one of none, five-crop, ten-crop"):
        probabilities(Corner(), images, "frog")


def test_train_and_predict_pictures_of_a_folder(tmp_path: Path) -> None:
    colours(tmp_path / "colours", each=10)
    file, table = tmp_path / "run.pt", tmp_path / "answers.csv"
    options = f"--data {tmp_path / 'colours'} --model vgg11_small --epochs 4 --batch-size 8"
    more = f"--optimizer adamw --augment mirror --augment crop --init he --checkpoint {file}"
    result = run("train", *options.split(), *more.split())
    assert result.exit_code == 0, result.output
    predictor = load_predictor(file)
    assert predictor.class_names == ("blue", "red") and predictor.mean[1] == 0
    arguments = (file, tmp_path / "colours" / "red", "--average", "ten-crop", "--csv", table)
    for layers in ("cnnkern", "torch"):
        result = run("predict", *arguments, "--layers", layers)
        assert result.exit_code == 0, result.output
        with table.open() as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == 10 and all(float(row["red"]) > 0.9 for row in rows)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "nothing to classify" in run("predict", file, empty).stderr
    (empty / "x.png").write_bytes(b"nonsense")
    assert "x.png: not a readable picture" in run("predict", file, empty).stderr


def test_train_and_predict_texts(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name, word in (("sea", "wave"), ("land", "hill")):
        lines = [f"over the {word} number {i}" for i in range(20)]
        (tmp_path / "texts" / f"{name}.txt").write_text("\n".join(lines))
    file = tmp_path / "run.pt"
    options = f"--data {tmp_path / 'texts'} --model text_cnn_small --epochs 4 --batch-size 8"
    result = run("train", *options.split(), "--optimizer", "adamw", "--checkpoint", file)
    assert result.exit_code == 0, result.output
    questions = tmp_path / "questions.txt"
    questions.write_text("beyond the hill\n\na wave came\n")
    result = run("predict", file, questions, "--top", 1)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if "%" in line]
    assert [words[-2] for words in lines] == ["land", "sea"]
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="reads texts, not pictures"):
        load_predictor(file).images([tmp_path / "x.png"])
