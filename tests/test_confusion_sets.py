"""examples/confusion_sets.py: the sets from known probabilities, and 97 % on held-out digits."""

from __future__ import annotations

import confusion_sets as example
import pytest
import torch
from shared import Layers


def test_a_confusion_set_is_the_fewest_classes_that_hold_most_of_the_error():
    probabilities = torch.tensor(
        [
            [0.90, 0.05, 0.04, 0.01],  # of 0.1: 1 has half, 1 and 2 have 0.9
            [0.40, 0.55, 0.05, 0.00],  # 0 has eight ninths
            [0.10, 0.10, 0.70, 0.10],  # all alike: three thirds are needed
            [0.60, 0.00, 0.00, 0.40],  # wrong, and all of it is 0's
        ]
    )
    found = example.confusions(probabilities, torch.arange(4))
    assert found.sets[0] == [1, 2] and found.sets[1] == [0] and found.sets[3] == [0]
    assert sorted(found.sets[2]) == [0, 1, 3]
    assert found.right.tolist() == [1, 1, 1, 0]
    torch.testing.assert_close(found.mean, probabilities)


def test_top_k_counts_the_truth_among_the_k_most_probable():
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    labels = torch.tensor([0, 1, 2])
    found = [example.top_k_accuracy(probabilities, labels, k) for k in (1, 2, 3)]
    assert found == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("layers", Layers)
def test_lenet5_reads_97_percent_of_held_out_digits(layers, tmp_path, capsys):
    figures = example.main(tmp_path, 9, layers)
    assert figures["held-out accuracy"] >= 0.97
    assert figures["truth among the first 3"] >= 0.99
    assert "Confusion sets" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "confusion_sets.json",
        "confusion_sets.png",
        "confusion_sets_answers.png",
    }
