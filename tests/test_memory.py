"""Memory: views at odd offsets, gaps of NaN, expanded and transposed tensors, untouched inputs."""

import cases
import pytest
import torch

from cnnkern import functional as ours
from cnnkern import problems, testing
from cnnkern.problems import Problem

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
DEVICES = ["cpu", pytest.param("sm_80", marks=needs_emulator)]
LINES = [
    "n2c4h7w6k6r3s3p1",
    "n2g2c8h6w9k8r3s3u2p1",
    "n1c4d4h5w4k4t3r3s3p1",
    "n2c3w13k5s3p1",
    "n2c4h8w7r3s3u2p1 maxpool",
    "n2c9h8w7r3s3u2p1 avgpool exclude_pad",
    "n2c9h8w7r3s2 adaptive_avgpool",
    "n2c9h8w7r3s2 adaptive_maxpool",
    "n2c9h8w7r3s5u2 fractional_maxpool",
    "n2c9h8w7r3s2 max_unpool",
]


def problems_of(line: str):
    for text in cases.texts(line):
        if "f64" not in text and "bf16" not in text:
            yield text


TEXTS = [text for line in LINES for text in problems_of(line)]


def check_views(text: str, operators, offset: int, gap: int, place: str = "cpu") -> None:
    """Nothing but the view is read (NaN would spread), nothing of the storage is written."""
    problem = Problem.parse(text)
    values = cases.operands(problem)
    views = [testing.guarded_copy(t, offset, gap, place) for t in cases.prepared(problem, values)]
    before = [contents(v) for v in views]
    found = problems.run(problem, operators, *views)
    found = found[0] if isinstance(found, tuple) else found
    testing.assert_equal(found.cpu(), cases.expected(problem, values), text)
    assert before == [contents(v) for v in views], "an input was written"


def contents(view: torch.Tensor) -> bytes:
    return bytes(view.untyped_storage().cpu().tolist())


@pytest.mark.parametrize("gap", [1, 2])
@pytest.mark.parametrize("offset", [1, 3])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("text", TEXTS)
def test_views_inside_nan(text, device, offset, gap):
    check_views(text, cases.Case(text, device, "").operators(), offset, gap)


def test_guards_are_where_they_should_be():
    dense = testing.integer_tensor(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for gap in (1, 2):
        view = testing.guarded_copy(dense, 3, gap)
        assert torch.equal(view, dense) and view.storage_offset() == 3
        assert sorted(range(4), key=view.stride) == sorted(range(4), key=dense.stride)
        assert min(view.stride()) == gap
        everything = torch.empty(0).set_(view.untyped_storage())
        assert int(everything.isnan().sum()) == everything.numel() - dense.numel()
        assert everything[:3].isnan().all() and everything[-3:].isnan().all()


@pytest.mark.parametrize("device", DEVICES)
def test_strides_of_every_kind(device):
    """Transposed, expanded, sliced and zero-stride tensors equal their dense copies."""
    operators = cases.Case("", device, "").operators()
    problem = Problem.parse("n2c3h6w5k4r3s3p1")
    integers = testing.integer_tensor
    inputs = [
        integers(5, 6, 3, 2).permute(3, 2, 1, 0),
        integers(1, 3, 1, 5).expand(2, 3, 6, 5),
        integers(4, 6, 12, 10)[1:3, ::2, 3:9, ::2],
        integers(2, 1, 1, 1).expand(2, 3, 6, 5),
        integers(6, 3, 2, 5).transpose(0, 2),
    ]
    weights = [
        integers(3, 3, 3, 4).permute(3, 2, 1, 0),
        integers(1, 1, 3, 3).expand(4, 3, 3, 3),
        integers(8, 3, 5, 5)[::2, :, 1:4, 1:4],
    ]
    for x in inputs:
        for w in weights:
            found = problems.run(problem, operators, x, w)
            dense = problems.run(problem, operators, x.clone().contiguous(), w.clone().contiguous())
            testing.assert_equal(found, dense)


def test_bias_is_a_view():
    bias = testing.guarded_copy(testing.integer_tensor(4), 1, 2)
    x, w = testing.integer_tensor(1, 3, 5, 5), testing.integer_tensor(4, 3, 3, 3)
    testing.assert_equal(ours.conv2d(x, w, bias), ours.conv2d(x, w, bias.clone()))


def test_gradients_of_expanded_outputs():
    """y.sum() sends back a gradient with zero strides."""
    x = testing.integer_tensor(2, 3, 6, 6).requires_grad_()
    w, b = testing.integer_tensor(4, 3, 3, 3).requires_grad_(), torch.zeros(4, requires_grad=True)
    found = torch.autograd.grad(ours.conv2d(x, w, b).sum(), (x, w, b))
    theirs = torch.autograd.grad(torch.conv2d(x, w, b).sum(), (x, w, b))
    for mine, other in zip(found, theirs):
        testing.assert_equal(mine, other)
