"""Data sets: scikit-learn's digits and IDX files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnkern.data import Dataset, load_digits, load_idx, read_idx
from cnnkern.data.dataset import fit_to

PARTS = {
    "train-images-idx3-ubyte": (0, 28, 28),
    "train-labels-idx1-ubyte": (0,),
    "t10k-images-idx3-ubyte": (1, 28, 28),
    "t10k-labels-idx1-ubyte": (1,),
}
COUNTS = (30, 12)


def idx_bytes(array: np.ndarray, type_code: int = 8) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, type_code, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx_set(folder: Path, prefix: str = "", compress: bool = False) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for name, (which, *size) in PARTS.items():
        high = 256 if size else 10
        array = generator.integers(0, high, (COUNTS[which], *size), dtype=np.uint8)
        content = idx_bytes(array)
        file = folder / f"{prefix}{name}{'.gz' if compress else ''}"
        file.write_bytes(gzip.compress(content) if compress else content)
        arrays[name] = array
    return arrays


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(seed=0)


def test_digits_are_32x32_and_normalised_by_the_training_set(digits: Dataset) -> None:
    images = digits.train_images
    assert images.shape == (1437, 1, 32, 32) and images.dtype == torch.float32
    assert digits.test_images.shape == (360, 1, 32, 32)
    assert abs(images.mean().item()) < 1e-4
    assert abs(images.std(correction=0).item() - 1) < 1e-4
    pixels = digits.pixels(digits.test_images)
    assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5
    assert pixels[:, :, :2].abs().max() < 1e-5, "the border of two pixels is black"


def test_held_out_fifth_is_stratified_and_apart(digits: Dataset) -> None:
    train, test = torch.bincount(digits.train_labels), torch.bincount(digits.test_labels)
    assert (test / (train + test) - 0.2).abs().max() < 0.01
    seen = {image.numpy().tobytes() for image in digits.train_images}
    assert sum(image.numpy().tobytes() in seen for image in digits.test_images) == 0


def test_the_seed_draws_the_split(digits: Dataset) -> None:
    assert torch.equal(load_digits(seed=0).test_labels, digits.test_labels)
    assert not torch.equal(load_digits(seed=1).test_labels, digits.test_labels)


def test_28x28_images_only_get_a_border() -> None:
    images = torch.rand(2, 1, 28, 28)
    bigger = fit_to(images)
    assert torch.equal(bigger[:, :, 2:30, 2:30], images)
    assert bigger.sum() == pytest.approx(images.sum().item(), rel=1e-5)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("by_file", [False, True])
def test_idx_round_trip(tmp_path: Path, compress: bool, by_file: bool) -> None:
    arrays = write_idx_set(tmp_path, compress=compress)
    suffix = ".gz" if compress else ""
    data = load_idx(tmp_path / f"t10k-labels-idx1-ubyte{suffix}" if by_file else tmp_path)
    assert data.train_images.shape == (30, 1, 32, 32) and data.classes == 10
    for images, labels, part in (
        (data.train_images, data.train_labels, "train"),
        (data.test_images, data.test_labels, "t10k"),
    ):
        pixels = (data.pixels(images)[:, 0, 2:30, 2:30] * 255).round().to(torch.uint8)
        assert np.array_equal(pixels.numpy(), arrays[f"{part}-images-idx3-ubyte"])
        assert np.array_equal(labels.numpy(), arrays[f"{part}-labels-idx1-ubyte"])


def test_two_sets_in_a_folder_are_told_apart_by_a_file(tmp_path: Path) -> None:
    write_idx_set(tmp_path, "emnist-letters-")
    write_idx_set(tmp_path, "emnist-digits-")
    with pytest.raises(ValueError, match="holds several data sets; name"):
        load_idx(tmp_path)
    assert load_idx(tmp_path / "emnist-digits-train-images-idx3-ubyte").name == "emnist-digits"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG....", "not an IDX file"),
        (b"\0\0", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "header of 3 axes is cut short"),
        (idx_bytes(np.zeros((2, 3), np.uint8), type_code=0x0D), "IDX type 0x0d"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], "2x3 needs 6 bytes, but 5 follow"),
        (idx_bytes(np.zeros((2, 3), np.uint8)) + b"x", "2x3 needs 6 bytes, but 7 follow"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "some-file"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"some-file: .*{message}"):
        read_idx(file)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(idx_bytes(np.zeros((20, 9), np.uint8)))[:-6])
    with pytest.raises(ValueError, match="not a complete gzip file"):
        read_idx(file)


def test_missing_and_mismatched_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        load_idx(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte .* is missing"):
        load_idx(tmp_path)
    write_idx_set(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(ValueError, match="12 images, but 11 labels"):
        load_idx(tmp_path)
    labels.unlink()
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte .* is missing"):
        load_idx(tmp_path)
