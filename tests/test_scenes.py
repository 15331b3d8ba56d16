"""cnnkern.data.scenes: repeatable, as described, and their truth is where it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cnnkern.data.scenes import (
    JOINTS,
    REGIONS,
    DigitScenes,
    Figures,
    Landscapes,
    MovingDigits,
    action,
    labelling,
    material,
)

ALL = [DigitScenes, Landscapes, Figures, MovingDigits]


def flat(sample):
    return [part for item in sample for part in (item if isinstance(item, tuple) else [item])]


def same(a, b):
    return all(
        torch.equal(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(flat(a), flat(b))
    )


def replace_photographs(monkeypatch, image):
    monkeypatch.setattr(material, "photographs", lambda: (image,))
    monkeypatch.setattr(material, "parts", material.parts.__wrapped__)  # nothing remembered


@pytest.mark.parametrize("scenes", ALL)
def test_a_scene_is_a_function_of_seed_split_and_number(scenes):
    one = scenes(10, seed=1)[3]
    assert same(one, scenes(10**9, seed=1)[3])
    others = scenes(10, seed=1)[4], scenes(10, seed=2)[3], scenes(10, seed=1, held_out=True)[3]
    for other in others:
        assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("scenes", ALL)
def test_images_are_within_0_and_1_and_the_set_ends(scenes):
    some = scenes(20)
    images = torch.stack([sample[0] for sample in some])
    assert len(images) == len(some) == 20
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    assert images.std() > 0.1
    with pytest.raises(IndexError, match="no scene 20, there are 20"):
        some[20]
    with pytest.raises(ValueError, match="length must be at least 0, but is -1"):
        scenes(-1)


def test_held_out_material_is_not_for_training():
    (train, _), (held_out, names) = material.digits(False), material.digits(True)
    assert len(train) + len(held_out) == 1797 and len(set(names.tolist())) == 10
    assert not {id(image) for image in train} & {id(image) for image in held_out}


def test_held_out_photographs_are_the_right_third(monkeypatch):
    """Of photographs that are red where training sees them and blue where it must not."""
    red, blue = (255, 0, 0), (0, 0, 255)
    image = Image.new("RGB", (600, 400), red)
    image.paste(blue, (400, 0, 600, 400))
    replace_photographs(monkeypatch, image)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert material.photograph(rng, 64, False).getcolors() == [(64 * 64, red)]
        assert material.photograph(rng, 64, True).getcolors() == [(64 * 64, blue)]


def test_digits_stand_within_their_boxes_and_nowhere_else(monkeypatch):
    """On a black photograph without clutter, all that is bright is inside the boxes."""
    black = Image.new("RGB", (600, 400))
    replace_photographs(monkeypatch, black)
    monkeypatch.setattr("cnnkern.data.scenes.detection._clutter", lambda rng, image: None)
    counts = set()
    for image, truth in DigitScenes(40):
        counts.add(len(truth.labels))
        assert truth.labels.min() >= 1 and truth.labels.max() <= 10
        boxes = (truth.boxes * 64).round().int()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 64).all()
        brightness, outside = image.amax(0), image.amax(0)
        for x1, y1, x2, y2 in boxes.tolist():
            inside = brightness[y1:y2, x1:x2]
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert edge.max() > 0.15
            outside = outside.clone()
            outside[y1:y2, x1:x2] = 0
        assert outside.max() < 0.31
    assert counts == {1, 2, 3}


def test_batches_are_stacked_and_truths_listed():
    images, truths = DigitScenes(9).batch(torch.tensor([4, 7]))
    assert images.shape == (2, 3, 64, 64) and len(truths) == 2
    assert torch.equal(truths[1].boxes, DigitScenes(9)[7][1].boxes)
    images, joints = Figures(9).batch(range(3))
    assert images.shape == (3, 3, 64, 64) and joints.shape == (3, len(JOINTS), 2)
    clips, motions = MovingDigits(9).batch(range(3))
    assert clips.shape == (3, 3, 8, 32, 32) and motions.dtype == torch.int64


def test_each_region_is_filled_with_its_own_texture(monkeypatch):
    paint = np.eye(5, 3, dtype=np.float32) + np.arange(5)[:, None] / 10
    monkeypatch.setattr(
        labelling, "_texture", lambda rng, region, held_out: np.full((64, 64, 3), paint[region])
    )
    seen = set()
    for image, labels in Landscapes(20):
        wanted = torch.from_numpy(paint).float()[labels].permute(2, 0, 1).clamp(0, 1)
        assert (image - wanted).abs().mean() < 0.05
        seen |= set(labels.unique().tolist())
    assert seen == set(range(len(REGIONS)))


def test_held_out_textures_are_the_right_halves(monkeypatch):
    """Of a photograph that is red in the left half of each place and blue in the right."""
    image = Image.new("RGB", (640, 427))
    for x1, y1, x2, y2 in labelling.SOURCES.values():
        assert 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 427
        image.paste((255, 0, 0), (x1, y1, (x1 + x2) // 2, y2))
        image.paste((0, 0, 255), ((x1 + x2) // 2, y1, x2, y2))
    replace_photographs(monkeypatch, image)
    rng = np.random.default_rng(0)
    for region in range(5):
        if region == labelling.ROAD:  # grey
            continue
        for _ in range(10):
            for held_out in (False, True):
                texture = labelling._texture(rng, region, held_out)
                red, _, blue = texture.reshape(-1, 3).T
                assert (red < blue).all() if held_out else (red > blue).all()


def test_figures_have_their_limbs_where_the_joints_are(monkeypatch):
    """On a black photograph the middles of limbs are bright, and all that is bright is near one."""
    black = Image.new("RGB", (600, 400))
    replace_photographs(monkeypatch, black)
    for image, joints in Figures(8):
        assert (joints.abs() < 1).all()
        pixels = (joints + 1) * 32
        for a, b in ((0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11)):
            x, y = ((pixels[a] + pixels[b]) / 2).int().tolist()
            assert image[:, y, x].max() > 0.2
        y, x = (image.amax(0) > 0.2).nonzero(as_tuple=True)
        distance = torch.cdist(torch.stack([x, y], 1).float(), pixels).amin(1)
        assert distance.max() < 14


def test_left_and_right_are_the_figures_own():
    """It faces us: its left shoulder is at our right."""
    joints = torch.stack([joints for _, joints in Figures(50)])
    left, right = JOINTS.index("left shoulder"), JOINTS.index("right shoulder")
    assert (joints[:, left, 0] > joints[:, right, 0]).all()
    assert (joints[:, JOINTS.index("head top"), 1] < joints[:, JOINTS.index("neck"), 1]).all()


def test_placing_a_digit_moves_sizes_and_turns_it():
    images, _ = material.digits(False)
    upright = material.place(images[5], 65, 32.5, 32.5, 24)
    assert (
        np.abs(material.place(images[5], 65, 37.5, 29.5, 24)[:-3, 5:] - upright[3:, :-5]).max()
        < 0.02
    )
    turned = material.place(images[5], 65, 32.5, 32.5, 24, np.pi / 2)
    assert np.abs(turned - np.rot90(upright, -1)).max() < 0.02  # numpy turns the other way
    doubled = material.place(images[5], 65, 32.5, 32.5, 48)
    assert doubled.sum() == pytest.approx(4 * upright.sum(), rel=0.05)


@pytest.mark.parametrize("motion", range(8))
def test_digits_move_as_their_name_says(motion, monkeypatch):
    """Measured by centre, size and angle of the mask, at the first and at the last frame."""
    placed = []

    def place(digit, size, x, y, height, angle):
        placed.append((x, y, height, angle))
        return np.zeros((size, size), np.float32)

    monkeypatch.setattr(material, "place", place)
    monkeypatch.setattr(action, "JITTER", 0)
    for clip in range(100):
        placed.clear()
        if MovingDigits(100)[clip][1] == motion:
            break
    change = np.array(placed[-1]) - np.array(placed[0])
    wanted = {
        "right": (1, 0, 0, 0), "left": (-1, 0, 0, 0), "down": (0, 1, 0, 0), "up": (0, -1, 0, 0),
        "nearer": (0, 0, 1, 0), "farther": (0, 0, -1, 0),
        "clockwise": (0, 0, 0, 1), "counter-clockwise": (0, 0, 0, -1),
    }[list(action.MOTIONS)[motion]]  # fmt: skip
    assert np.sign(np.round(change, 6)).tolist() == list(wanted)


def test_the_middle_frame_says_nothing_about_the_motion(monkeypatch):
    """With the same random numbers, but another motion, it is the same picture."""
    motions = dict(action.MOTIONS)
    still = dict.fromkeys(motions, (0.0, 0.0, 0.0, 0.0))
    moving = [MovingDigits(8)[number] for number in range(8)]
    monkeypatch.setattr(action, "MOTIONS", still)
    for number, (clip, _) in enumerate(moving):
        other, _ = MovingDigits(8)[number]
        assert torch.equal(clip[:, action.MIDDLE], other[:, action.MIDDLE])
        assert not torch.equal(clip, other)
