"""cnnkern.adversarial, and examples/adversarial_examples.py on networks that trained briefly."""

from __future__ import annotations

import adversarial_examples as example
import pytest
import torch
from torch import nn

from cnnkern.adversarial import fgsm, gradient_sign, pgd


def linear():
    """Two classes, logits 3·x and −3·x of one pixel: the gradient's sign is known."""
    layer = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0], [-3.0]]))
    return nn.Sequential(nn.Flatten(), layer)


IMAGES = torch.tensor([0.5, 0.5, 0.05, 0.95]).view(4, 1, 1, 1)
LABELS = torch.tensor([0, 1, 0, 1])


def test_fgsm_goes_up_the_loss_and_stops_at_the_range():
    model = linear()
    assert gradient_sign(model, IMAGES, LABELS).flatten().tolist() == [-1, 1, -1, 1]
    found = fgsm(model, IMAGES, LABELS, 0.2)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.7, 0.0, 1.0]))
    own = torch.tensor([0.1, 0.2, 0.0, 0.3]).view(4, 1, 1, 1)
    found = fgsm(model, IMAGES, LABELS, own, low=-1, high=2)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.4, 0.7, 0.05, 1.25]))


def test_attacks_leave_the_network_and_the_images_alone():
    model, images = linear(), IMAGES.clone()
    for found in (fgsm(model, images, LABELS, 0.1), pgd(model, images, LABELS, 0.1, steps=2)):
        assert not found.requires_grad
    assert model[1].weight.grad is None and torch.equal(images, IMAGES) and model.training


def test_pgd_ends_at_the_rim_of_what_it_may_change():
    found = pgd(linear(), IMAGES, LABELS, 0.2, steps=10)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.3, 0.7, 0.0, 1.0]))


def test_pgd_is_no_weaker_than_fgsm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    images, labels = torch.rand(64, 1, 4, 4), torch.randint(4, (64,))

    def loss(x):
        return nn.functional.cross_entropy(model(x), labels).item()

    one, many = fgsm(model, images, labels, 0.3), pgd(model, images, labels, 0.3, steps=20)
    assert loss(images) < loss(one) <= loss(many)
    assert (many - images).abs().max() <= 0.3 + 1e-6 and many.min() >= 0 and many.max() <= 1


def test_bad_numbers_get_a_sentence():
    with pytest.raises(ValueError, match=r"fgsm: eps must not be negative, but is -0\.1"):
        fgsm(linear(), IMAGES, LABELS, -0.1)
    with pytest.raises(ValueError, match=r"pgd: eps must not be negative, but is -1"):
        pgd(linear(), IMAGES, LABELS, -1)
    with pytest.raises(ValueError, match="pgd: steps must be at least 1, but is 0"):
        pgd(linear(), IMAGES, LABELS, 0.1, steps=0)


def test_projection_finds_the_code_of_a_drawn_image():
    """A generator that shows its code, the class brightest: the nearest image has the same."""

    class Show(nn.Module):
        def forward(self, numbers):
            noise, kind = numbers.split([example.NOISE, example.CLASSES], 1)
            shown = torch.cat([0.3 * noise, 5 * kind], 1).tanh()
            return nn.functional.pad(shown, (0, 32 * 32 - shown.shape[1])).view(-1, 1, 32, 32)

    wanted = example.draw(Show(), example.codes(torch.tensor([3, 7])))
    found = example.project(Show(), wanted, 200)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)


def test_attack_is_felt_and_both_defences_help(tmp_path):
    figures = example.main(tmp_path, epochs=3, descent=5, images=150)
    clean, attacked = figures["clean accuracy"], figures["as trained, FGSM, ε = 0.15"]
    assert clean >= 0.9 and attacked <= clean - 0.2
    assert figures["as trained, PGD, ε = 0.15"] <= attacked + 0.02
    assert figures["adversarial training, FGSM, ε = 0.15"] >= attacked + 0.1
    assert figures["projected, FGSM, ε = 0.15"] >= attacked + 0.1
    assert len(list(tmp_path.glob("*.png"))) == 3
