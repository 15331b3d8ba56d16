"""The networks of the registry: torchvision's weights, our kernels alone, layers of torch.nn."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from cnnkern import testing
from cnnkern.models import create, initialise, list_models
from cnnkern.models.deeppose import cut_boxes

# Smaller inputs than the published ones that still reach every layer.
REDUCED = {
    "alexnet": (3, 64, 64),
    "c3d": (3, 16, 32, 32),
    "deeppose": (3, 64, 64),
    "fcn8s": (3, 32, 32),
    "googlenet": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64),
    "resnet18": (3, 64, 64),
    "resnet50": (3, 64, 64),
    "two_stream": (3, 11, 96, 96),
    "unet": (3, 32, 32),
    "vgg11": (3, 32, 32),
    "vgg16": (3, 32, 32),
}


OPTIONS = {"deeppose": {"joints": 3}, "deeppose_small": {"joints": 4}}  # each has its boxes


def batch_for(model, name, batch=2):
    """Random inputs."""
    example = model.example(batch)
    if not example.is_floating_point():
        return torch.randint_like(example, 1, 100)
    return torch.randn(batch, *REDUCED.get(name, model.input_shape))


def tensors(output):
    """All tensors of an output that may be a tuple of tuples."""
    return [output] if isinstance(output, Tensor) else [t for part in output for t in tensors(part)]


# Name in torchvision, number of classes, image size.
TORCHVISION = {
    "alexnet": ({}, 67),
    "vgg11": ({"init_weights": False}, 40),
    "vgg16": ({"init_weights": False}, 32),
    "googlenet": ({"init_weights": False, "aux_logits": True}, 70),
    "resnet18": ({}, 65),
    "resnet50": ({}, 64),
    "mobilenet_v2": ({}, 62),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_weights_load_and_give_its_outputs(name):
    options, size = TORCHVISION[name]
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=10, **options).eval()
    for module in theirs.modules():  # as after training: no normalisation is the identity
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    ours = create(name, num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        found, wanted = ours(images), theirs(images)
    assert float(wanted.norm()) > 0
    assert float((found - wanted).norm()) <= 1e-5 * float(wanted.norm())


def test_googlenets_auxiliary_logits_are_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=10, init_weights=False)
    ours = create("googlenet", num_classes=10)
    ours.load_state_dict(theirs.state_dict())
    for module in [*ours.modules(), *theirs.modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        found, wanted = ours(images), theirs(images)
    assert found._fields == wanted._fields
    for field in found._fields:
        a, b = getattr(found, field), getattr(wanted, field)
        assert float((a - b).norm()) <= 1e-4 * float(b.norm()), field  # batch statistics of 3


class Watch(TorchDispatchMode):
    """Notes torch's own convolutions and poolings."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name.startswith("aten.") and ("conv" in name or "pool" in name):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def step(model, inputs):
    """Forward and backward in training mode; which kernels ran."""
    with testing.launches() as ran:
        outputs = tensors(model.train()(inputs))
        sum((output * output).sum() for output in outputs).backward()
    return outputs, ran


@pytest.mark.parametrize("name", list_models())
def test_no_convolution_and_no_pooling_of_torchs(name):
    torch.manual_seed(0)
    model = create(name, **OPTIONS.get(name, {}))
    watch = Watch()
    with watch:
        outputs, ran = step(model, batch_for(model, name, batch=1 if name == "ssd" else 2))
    assert not watch.seen and ran
    assert all(bool(output.isfinite().all()) for output in outputs)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(parameter.grad.isfinite().all()), parameter_name


def test_the_watch_sees_torchs_own():
    model = create("alexnet_small", layers=nn)
    watch = Watch()
    with watch:
        _, ran = step(model, batch_for(model, "alexnet_small"))
    assert any("convolution" in name for name in watch.seen)
    assert any("max_pool" in name for name in watch.seen)
    assert not ran


SMALL = [name for name in list_models() if name.endswith("_small") or name == "lenet5"]


@pytest.mark.parametrize("name", SMALL)
def test_layers_of_torch_make_the_same_network(name):
    torch.manual_seed(3)
    ours = create(name)
    torch.manual_seed(3)
    theirs = create(name, layers=nn)
    state, wanted = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    ours, theirs, inputs = ours.double(), theirs.double(), batch_for(ours, name)
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        pairs = zip(tensors(ours.eval()(inputs)), tensors(theirs.eval()(inputs)))
    for found, expected in pairs:
        assert float((found - expected).norm()) <= 1e-9 * float(expected.norm())


def loss_to_learn(model, inputs, outputs):
    """A loss of ``outputs`` against targets that are always the same."""
    torch.manual_seed(1)
    first = outputs[0]
    if model.task == "pose estimation":
        target = torch.rand(len(first), 1, model.joints, 2) * 2 - 1
        return lambda found: F.mse_loss(found[0], target.expand_as(found[0]))
    if model.task == "generation":
        target = torch.rand_like(first) - 0.5
        return lambda found: F.mse_loss(found[0], target)
    if model.task == "real or generated":
        target = torch.arange(len(first)) % 2.0
        return lambda found: F.binary_cross_entropy_with_logits(found[0], target)
    if model.task == "scene labelling":  # where the image is red
        target = (inputs[:, 0] > 0).long()
    else:
        target = torch.randint(2, (len(first),))
    return lambda found: sum(F.cross_entropy(output, target) for output in found)


# test_ssd.py has the detector's, which needs boxes.
@pytest.mark.parametrize("name", [name for name in SMALL if name != "ssd_small"])
def test_small_ones_learn_a_batch_by_heart(name):
    torch.manual_seed(0)
    model = create(name, **OPTIONS.get(name, {})).train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    inputs = batch_for(model, name, batch=6)
    if model.task == "scene labelling":  # of patches; noise has no scenes
        patches = inputs[..., ::16, ::16]
        inputs = patches.repeat_interleave(16, -1).repeat_interleave(16, -2)
    loss_of = loss_to_learn(model, inputs, tensors(model(inputs)))
    # U-Net's last layer sums 16 numbers only, so that small steps change its logits little.
    optimizer = torch.optim.Adam(model.parameters(), 5e-3 if name == "unet_small" else 1e-3)
    losses = []
    for _ in range(25):
        loss = loss_of(tensors(model(inputs)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses


@pytest.mark.parametrize("name", SMALL)
def test_small_ones_see_28_to_64_pixels(name):
    model = create(name)
    assert max(model.input_shape) <= (100 if model.task == "generation" else 64)
    assert sum(parameter.numel() for parameter in model.parameters()) < 3e6


def test_text_cnn_finds_an_ngram_wherever_it_stands():
    """The logits are the strongest answers; padding adds nothing to a text but places."""
    torch.manual_seed(0)
    model = create("text_cnn_small", num_classes=3).eval()
    text = torch.randint(1, 256, (1, 20))
    with torch.no_grad():
        here = model(nn.functional.pad(text, (10, 34)))
        there = model(nn.functional.pad(text, (33, 11)))
        torch.testing.assert_close(here, there)
        assert not torch.allclose(here, model(nn.functional.pad(text.flip(1), (10, 34))))
        assert [maps.shape[2] for maps in model.feature_maps(text[:, :2])] == [2, 2, 2]
    model.train()(text).sum().backward()
    assert not model.embedding.weight.grad[0].any()


def test_fcn_starts_as_bilinear_interpolation_of_its_coarse_scores():
    model = create("fcn8s_small", num_classes=2).eval()
    scores = torch.randn(1, 2, 4, 4)
    wanted = nn.functional.interpolate(scores, scale_factor=8, mode="bilinear")
    with torch.no_grad():
        found = model.upscore8(scores)
    torch.testing.assert_close(found[..., 4:-4, 4:-4], wanted[..., 4:-4, 4:-4])


def test_deeppose_cuts_the_box_around_each_joint():
    """Centre and size to the pixel: the boxes of an image of its own coordinates."""
    side = (torch.arange(64) + 0.5) / 32 - 1
    y, x = torch.meshgrid(side, side, indexing="ij")
    images = torch.stack([torch.stack([x, y]), torch.stack([2 * x, 2 * y])])
    centres = torch.tensor([[[0.0, 0.25], [-0.5, 0.5], [0.125, 0]], [[0, 0], [0.25, 0], [0, 0.25]]])
    half = torch.tensor([0.25, 0.5])[:, None, None]
    boxes = cut_boxes(images, centres, half, pixels=16).unflatten(0, (2, 3))
    means = boxes.mean((-1, -2))
    torch.testing.assert_close(means, centres * torch.tensor([1.0, 2.0])[:, None, None])
    spread = boxes[:, :, 0, 0, -1] - boxes[:, :, 0, 0, 0]  # 15 of the box's 16 pixels
    torch.testing.assert_close(spread, torch.tensor([[0.5], [2.0]]).expand(2, 3) * 15 / 16)


class Answer(nn.Module):
    """Says the same of every image."""

    def __init__(self, pose):
        super().__init__()
        self.pose = torch.tensor(pose).flatten()

    def forward(self, images):
        return self.pose.expand(len(images), -1)


def test_deeppose_refines_with_each_joints_own_outputs():
    """Joint j moves by the answer j of box j, in halves of the box."""
    model = create("deeppose_small", joints=4, stages=2)
    pose = [[-0.6, -0.8], [0.6, 0.8], [-0.6, 0.8], [0.6, -0.8]]  # extent 2, so boxes of side 1
    answer = [[0.0, 0.25], [0.5, 0.25], [1.0, -0.25], [-1.0, 0.5]]
    model.stages[0], model.stages[1] = Answer(pose), Answer(answer)
    poses = model(torch.randn(3, 3, 64, 64))
    torch.testing.assert_close(poses[:, 0], torch.tensor(pose).expand(3, 4, 2))
    moved = torch.tensor(pose) + 0.5 * torch.tensor(answer)
    torch.testing.assert_close(poses[:, 1], moved.expand(3, 4, 2))


def test_deeppose_stages_learn_apart():
    model = create("deeppose_small", joints=4)
    model(torch.randn(2, 3, 64, 64))[:, 2].square().sum().backward()
    has_gradient = [any(bool(p.grad.any()) for p in s.parameters()) for s in model.stages]
    assert has_gradient == [False, False, True]


def test_two_streams_average_probabilities_of_appearance_and_motion():
    torch.manual_seed(0)
    model = create("two_stream_small", num_classes=8).eval()
    clip = torch.randn(2, 3, 1, 32, 32).expand(2, 3, 8, 32, 32).clone()
    with torch.no_grad():
        still = model(clip)
        spatial = model.spatial(clip[:, :, 4]).softmax(1)
        temporal = model.temporal(torch.zeros(2, 7, 32, 32)).softmax(1)
        torch.testing.assert_close(still.exp(), (spatial + temporal) / 2)
        clip[:, :, 6] += 1  # moves, and the frame in the middle is the same
        assert not torch.allclose(model(clip), still)


@pytest.mark.parametrize("name, multiple", [("unet_small", 8), ("unet", 16), ("fcn8s_small", 32)])
def test_sizes_that_do_not_come_back_are_refused(name, multiple):
    with torch.device("meta"):
        model = create(name)
        images = torch.zeros(1, 3, 64, 64 + multiple // 2)
        with pytest.raises(ValueError, match=f"multiples of {multiple}, but are 64 and"):
            model(images)


def test_initialisation_by_name():
    layer = nn.Linear(400, 300)
    conv = nn.Conv2d(16, 32, 5)
    up = nn.ConvTranspose2d(32, 16, 4)
    net = nn.Sequential(layer, conv, up, nn.BatchNorm2d(3), nn.Embedding(50, 8, padding_idx=0))
    for scheme, std, conv_std in (
        ("he", (2 / 400) ** 0.5, (2 / (16 * 25)) ** 0.5),
        ("xavier", (2 / 700) ** 0.5, (2 / (48 * 25)) ** 0.5),
        ("normal", 0.02, 0.02),
    ):
        torch.manual_seed(0)
        initialise(net, scheme)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert conv.weight.std().item() == pytest.approx(conv_std, rel=0.03)
        assert not layer.bias.any() and not conv.bias.any()
    initialise(net, "he")
    assert up.weight.std().item() == pytest.approx((2 / (32 * 16)) ** 0.5, rel=0.03)
    initialise(net, "orthogonal")
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(300), atol=1e-4, rtol=0)
    assert not net[-1].weight[0].any() and net[-1].weight[1:].all()
    with pytest.raises(ValueError, match="no initialisation named 'gauss'; known: he, normal"):
        initialise(net, "gauss")
