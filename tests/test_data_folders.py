"""Data by name, folders of pictures by class, texts by class, and OpenCV's digits."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import write_idx_set

from cnnkern.data import load, load_images, load_opencv_digits, load_texts
from cnnkern.data.digits import OPENCV_FILE


def picture(file: Path, colour: tuple[int, ...] | int, width: int = 40, height: int = 30) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", (width, height), colour).save(file)


def colours(folder: Path, each: int = 5) -> None:
    for i in range(each):
        picture(folder / "red" / f"{i}.png", (200 + i, 0, 0))
        picture(folder / "blue" / f"{i}.png", (0, 0, 200 + i))


def test_a_folder_of_pictures_gives_classes_by_name(tmp_path: Path) -> None:
    colours(tmp_path)
    data = load(tmp_path, size=16)
    assert data.class_names == ("blue", "red") and data.classes == 2
    assert data.train_images.shape == (8, 3, 16, 16) and data.test_images.shape == (2, 3, 16, 16)
    assert data.train_images.mean((0, 2, 3)).abs().max() < 1e-5
    pixels = data.pixels(data.test_images)
    for image, label in zip(pixels, data.test_labels):
        assert image[0 if label == 1 else 2].min() > 0.7 and image[1].abs().max() < 1e-5


def test_the_square_around_the_centre_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 255
    for name in ("a", "b"):
        for i in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(wide).save(tmp_path / name / f"{i}.png")
    data = load_images(tmp_path, size=10)
    assert data.channels == 1, "all pictures are grey"
    assert data.mean.item() == pytest.approx(1)


def test_a_folder_may_say_what_is_held_out(tmp_path: Path) -> None:
    colours(tmp_path / "train"), colours(tmp_path / "test", each=1)
    data = load(tmp_path, size=8)
    assert len(data.train_labels) == 10 and data.test_labels.tolist() == [0, 1]
    (tmp_path / "test" / "red").rename(tmp_path / "test" / "green")
    with pytest.raises(ValueError, match=r"train and test have other classes \(green, red\)"):
        load(tmp_path)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    colours(tmp_path)
    whole = (tmp_path / "red" / "3.png").read_bytes()
    for content in (b"nonsense", whole[:60]):
        (tmp_path / "red" / "3.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"red/3.png: not a readable picture"):
            load_images(tmp_path)


def test_a_class_of_one_cannot_be_split(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", 1), picture(tmp_path / "b" / "1.png", 1)
    with pytest.raises(ValueError, match="a fifth cannot be held out"):
        load(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match="c"):
        load(tmp_path)


@pytest.mark.parametrize("form", ["lines", "fortunes", "folders"])
def test_texts_by_class_become_numbers_of_words(tmp_path: Path, form: str) -> None:
    texts = {"good": [f"a fine film {i}0" for i in range(5)], "bad": ["a dull caf\xe9 film"] * 5}
    for name, members in texts.items():
        if form == "folders":
            (tmp_path / name).mkdir()
            for i, text in enumerate(members):
                (tmp_path / name / f"{i}.txt").write_text(text)
        else:
            content = ("\n%\n" if form == "fortunes" else "\n").join(members)
            file = tmp_path / (name if form == "fortunes" else f"{name}.txt")
            file.write_text(content, encoding="latin-1")
    data = load(tmp_path, size=6)
    assert data.class_names == ("bad", "good") and {"dull", "fine", "film"} < {*data.vocabulary}
    assert data.train_images.shape == (8, 6) and data.train_images.dtype == torch.int64
    words = ["", "?", *data.vocabulary]
    for tokens, label in zip(data.train_images, data.train_labels):
        assert words[tokens[0]] == ("dull" if label == 0 else "fine")
        assert tokens[3:].tolist() == [0, 0, 0]
    assert data.test_labels.tolist() in ([0, 1], [1, 0])


def test_a_folder_without_classes_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("one class\n" * 4)
    with pytest.raises(ValueError, match="no classes; expected a folder of pictures or texts"):
        load_texts(tmp_path)


def test_a_folder_of_idx_files_is_seen(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    assert load(tmp_path, size=48).train_images.shape == (30, 1, 48, 48)
    assert load(tmp_path / "t10k-labels-idx1-ubyte").classes == 10


def test_names_are_known_and_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("digits", size=16).train_images.shape == (1437, 1, 16, 16)
    with pytest.raises(ValueError, match=r"frog: no such file or folder, nor a .* \(digits, fash"):
        load("frog")
    with pytest.raises(ValueError, match="Debian's package opencv-doc brings it"):
        load_opencv_digits(file="/absent/digits.png")
    monkeypatch.setattr("cnnkern.data.sources.FASHION_MNIST", Path("/absent"))
    with pytest.raises(ValueError, match="Debian's package dataset-fashion-mnist brings it"):
        load("fashion-mnist")


@pytest.mark.parametrize("compress", [False, True])
def test_opencvs_picture_is_cut_into_its_digits(tmp_path: Path, compress: bool) -> None:
    """A picture of the same layout, in which the digit of row r and column c is grey."""
    cells = np.repeat(np.arange(10) * 20 + 10, 500).reshape(50, 100).astype(np.uint8)
    Image.fromarray(cells.repeat(20, 0).repeat(20, 1)).save(tmp_path / "digits.png")
    if compress:
        content = (tmp_path / "digits.png").read_bytes()
        (tmp_path / "digits.png.gz").write_bytes(gzip.compress(content))
        (tmp_path / "digits.png").unlink()
    data = load_opencv_digits(file=tmp_path / "digits.png")
    assert torch.bincount(data.train_labels).tolist() == [400] * 10
    grey = data.pixels(data.train_images)[:, 0, 16, 16] * 255
    assert torch.equal(((grey - 10) / 20).round().long(), data.train_labels)


def test_another_picture_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "digits.png", 0)
    with pytest.raises(ValueError, match="40×30 pixels, but the digits take 2000×1000"):
        load_opencv_digits(file=tmp_path / "digits.png")


def test_opencvs_own_digits_can_be_told_apart_by_nearest_mean() -> None:
    if not OPENCV_FILE.exists() and not OPENCV_FILE.with_name("digits.png.gz").exists():
        pytest.skip("Debian's package opencv-doc is not installed")
    data = load("opencv-digits")
    means = torch.stack([data.train_images[data.train_labels == c].mean(0) for c in range(10)])
    nearest = torch.cdist(data.test_images.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == data.test_labels).double().mean() > 0.75
