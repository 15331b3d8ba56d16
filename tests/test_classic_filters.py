"""examples/classic_filters.py: numpy's and scipy's numbers, a low-pass that is one, pictures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

FILE = Path(__file__).parent.parent / "examples/classic_filters.py"
SPEC = importlib.util.spec_from_file_location("classic_filters", FILE)
example = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(example)


@pytest.mark.parametrize("width", [1, 2, 3, 8, 9, 50])
def test_moving_average_is_numpys(width):
    signal = np.random.default_rng(width).standard_normal(50)
    wanted = np.convolve(signal, np.full(width, 1 / width), mode="same")
    np.testing.assert_allclose(example.moving_average(signal, width), wanted, rtol=0, atol=1e-14)


def test_convolution_turns_the_filter_round():
    rng = np.random.default_rng(0)
    for n in (4, 5):
        signal, taps = rng.standard_normal(30), rng.standard_normal(n)
        wanted = np.convolve(signal, taps, mode="same")
        np.testing.assert_allclose(example.convolve_same(signal, taps), wanted, rtol=0, atol=1e-13)


def test_low_pass_keeps_low_tones_and_stops_high_ones():
    response = example.low_pass(example.TAPS, example.CUTOFF, example.RATE)
    time = np.arange(4000) / example.RATE
    for frequency, least, most in ((20, 0.99, 1.01), (60, 0.99, 1.01), (150, 0, 0.01)):
        tone = example.convolve_same(np.sin(2 * np.pi * frequency * time), response)
        assert least <= np.abs(tone[200:-200]).max() <= most, frequency
    _, rising, tone = example.chirp(2.0, 200.0, example.RATE)
    passed = example.convolve_same(tone, response)
    assert (
        np.abs(passed[rising > 140][:-60]).max() < 0.02 < 0.98 < np.abs(passed[rising < 70]).max()
    )


@pytest.mark.parametrize("name", example.KERNELS)
def test_kernels_are_scipys(name):
    kernel = example.KERNELS[name]
    image = torch.rand(3, 40, 50)
    found = example.filtered(image, kernel)
    for channel, plane in zip(found, image):
        wanted = convolve2d(plane.double(), kernel.flip(0, 1).double(), mode="same")
        np.testing.assert_allclose(channel, wanted, rtol=0, atol=2e-6)
    constant = example.filtered(torch.ones(3, 40, 50), kernel)[:, 20, 25]
    wanted = 0.0 if "edges" in name else 1.0
    np.testing.assert_allclose(constant, wanted, rtol=0, atol=1e-5)


def test_pictures(tmp_path):
    example.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classic_filters.json",
        "classic_kernels.png",
        "classic_signals.png",
    ]
