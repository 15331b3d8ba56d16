"""examples/gan_digits.py: codes, what is recognised, and a generator that trained briefly."""

from __future__ import annotations

import gan_digits as example
import pytest
import torch
from shared import Layers, on_pixels, train_lenet5

from cnnkern.data import load_digits


def test_codes_hold_noise_and_the_class():
    numbers = example.codes(torch.tensor([3, 0]))
    assert numbers.shape == (2, 42)
    assert numbers[:, 32:].argmax(1).tolist() == [3, 0] and numbers[:, 32:].sum() == 2
    assert numbers[0, :32].std() > 0.5


def test_interpolation_goes_from_digit_to_digit():
    numbers = example.interpolation(10, 5).view(10, 5, -1)
    assert numbers[:, 0, 32:].argmax(1).tolist() == list(range(10))
    assert numbers[:, -1, 32:].argmax(1).tolist() == [*range(1, 10), 0]
    torch.testing.assert_close(numbers[:-1, -1], numbers[1:, 0])
    torch.testing.assert_close(numbers[:, 2], (numbers[:, 0] + numbers[:, 4]) / 2)


def test_only_confident_answers_count_as_recognised():
    probabilities = torch.full((4, 10), 0.005)
    for row, (answer, confidence) in enumerate([(0, 0.95), (1, 0.95), (2, 0.85), (1, 0.92)]):
        probabilities[row, answer] = confidence
    found = list(example.recognised(probabilities, torch.tensor([0, 1, 2, 3])).values())
    assert found == pytest.approx([0.75, 2 / 3, 2, 0])


def test_a_generator_that_trained_briefly_draws_what_it_was_asked_for():
    data = load_digits()
    classifier = on_pixels(train_lenet5(data, 3, Layers.cnnkern).model, data)
    generator = example.train_gan(data, 2, Layers.cnnkern)
    asked = torch.arange(200) % 10
    with torch.no_grad():
        images = example.draw(generator, example.codes(asked))
        answers = classifier(images).argmax(1)
    assert images.min() >= 0 and images.max() <= 1
    assert (answers == asked).float().mean() >= 0.7
    assert len(answers.unique()) >= 8
