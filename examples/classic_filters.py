"""Filters that nobody trained: a moving average, a low-pass, and kernels for photographs.

python examples/classic_filters.py [FOLDER]    (out/gallery if not given)

A layer of a network correlates; signal processing convolves, which is the same with the filter
turned round. Both are one call of cnnkern.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from cnnkern import functional as F
from cnnkern.gallery import write_result
from cnnkern.visualize import BLUE, GREY, ORANGE

Array = NDArray[np.float64]

RATE = 2000  # samples a second
CUTOFF = 100.0  # Hz
TAPS = 101


def convolve_same(signal: Array, filter: Array) -> Array:
    """numpy.convolve(signal, filter, mode="same"), for a filter no longer than the signal."""
    n = len(filter)
    padded = torch.nn.functional.pad(torch.from_numpy(signal), (n // 2, (n - 1) // 2))
    turned = torch.from_numpy(filter).flip(0)
    return F.conv1d(padded[None, None], turned[None, None])[0, 0].numpy()


def moving_average(signal: Array, width: int) -> Array:
    """Each sample's mean with its neighbours; zeros beyond the ends."""
    return convolve_same(signal, np.full(width, 1 / width))


def low_pass(taps: int, cutoff: float, rate: float) -> Array:
    """A finite impulse response that keeps frequencies below ``cutoff``: windowed sinc.

    The ideal low-pass has the response sin(2πft)/(πt), without end; a Hamming window cuts it off
    without the ripples of a hard cut. The sum is 1, so that a constant passes unchanged.
    """
    time = np.arange(taps) - (taps - 1) / 2
    response = np.sinc(2 * cutoff / rate * time) * np.hamming(taps)
    return response / response.sum()


def chirp(seconds: float, highest: float, rate: float) -> tuple[Array, Array, Array]:
    """Times, frequencies and samples of a tone that rises evenly from 0 Hz to ``highest``."""
    time = np.arange(int(seconds * rate)) / rate
    return time, highest * time / seconds, np.sin(np.pi * highest * time**2 / seconds)


def gauss(size: int, sigma: float) -> Tensor:
    """A bell of ``size`` × ``size`` with sum 1."""
    bell = torch.exp(-((torch.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    return torch.outer(bell, bell) / bell.sum() ** 2


KERNELS: dict[str, Tensor] = {
    "blur, 9×9 mean": torch.full((9, 9), 1 / 81),
    "blur, Gauss, σ = 3": gauss(19, 3.0),
    "vertical edges, Sobel": torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "all edges, Laplace": torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
    "sharpen": torch.tensor([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of a (C, H, W) image correlated with one kernel: a depthwise convolution."""
    weight = kernel.expand(len(image), 1, *kernel.shape)
    return F.conv2d(image[None], weight, padding="same", groups=len(image))[0]


def draw_signals(path: Path) -> Path:
    """The moving average of a noisy curve, and a chirp through the low-pass."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    average, passed, gain = figure.subplots(3, 1)

    time = np.arange(400) / 400
    noisy = np.sin(6 * np.pi * time) + 0.4 * np.random.default_rng(0).standard_normal(400)
    average.plot(time, noisy, color=GREY, linewidth=0.7, label="noisy")
    for width, color in ((9, BLUE), (41, ORANGE)):
        average.plot(time, moving_average(noisy, width), color=color, label=f"mean of {width}")
    average.set(title="Moving average", xlabel="time [s]", ylim=(-2.5, 2.5))

    response = low_pass(TAPS, CUTOFF, RATE)
    time, frequency, tone = chirp(2.0, 200.0, RATE)
    passed.plot(time, tone, color=GREY, linewidth=0.5, label="tone from 0 to 200 Hz")
    passed.plot(time, convolve_same(tone, response), color=BLUE, linewidth=0.7, label="filtered")
    passed.axvline(time[np.searchsorted(frequency, CUTOFF)], color=ORANGE, label="100 Hz")
    passed.set(title=f"Low-pass of {TAPS} taps", xlabel="time [s]", ylim=(-1.1, 1.7))

    spectrum = np.abs(np.fft.rfft(response, 4096))
    gain.plot(np.fft.rfftfreq(4096, 1 / RATE), 20 * np.log10(spectrum + 1e-9), color=BLUE)
    gain.axvline(CUTOFF, color=ORANGE, label="100 Hz")
    gain.set(title="Its gain", xlabel="frequency [Hz]", ylabel="dB", xlim=(0, 400), ylim=(-90, 5))
    for axes in (average, passed, gain):
        axes.legend(loc="upper right", ncols=3, fontsize="small")
    figure.savefig(path, dpi=90)
    return path


def draw_kernels(path: Path) -> Path:
    """A photograph and what each kernel makes of it."""
    from sklearn.datasets import load_sample_image

    photograph = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1) / 255
    pictures = {"photograph": photograph}
    for name, kernel in KERNELS.items():
        if kernel.sum().abs() < 1e-6:  # edges: of brightness, zero as middle grey
            edges = filtered(photograph.mean(0, keepdim=True), kernel)
            pictures[name] = (0.5 + edges / 2).expand(3, -1, -1)
        else:
            pictures[name] = filtered(photograph, kernel)
    figure = Figure(figsize=(12, 6), layout="constrained")
    for axes, (name, picture) in zip(figure.subplots(2, 3).flat, pictures.items()):
        axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=72)
    return path


def main(folder: Path) -> None:
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [
        draw_signals(folder / "classic_signals.png"),
        draw_kernels(folder / "classic_kernels.png"),
    ]
    noise = np.random.default_rng(0).standard_normal(400)
    wanted = np.convolve(noise, np.full(9, 1 / 9), mode="same")
    figures = {
        "moving average: difference from numpy.convolve": float(
            np.abs(moving_average(noise, 9) - wanted).max()
        ),
        "low-pass: sum of its taps": float(low_pass(TAPS, CUTOFF, RATE).sum()),
    }
    for picture in pictures:
        print(f"wrote {picture}")
    write_result(
        folder,
        "classic_filters",
        "Moving average, low-pass and classic kernels",
        "python examples/classic_filters.py",
        time.perf_counter() - start,
        figures,
        [picture.name for picture in pictures],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/gallery"))
