"""Problem strings: parsing, the layers that they stand for, and files of them."""

import cases
import pytest
import torch
from torch import nn

from cnnkern import functional as ours
from cnnkern import problems, testing
from cnnkern.problems import Problem


def test_shapes():
    problem = Problem.parse("conv1 x3 n16g2c4h32w30k10r5s3p2uw2 f16 nhwc dgrad")
    assert (problem.name, problem.multiplicity) == ("conv1", 3)
    assert problem.input_shape == (16, 4, 32, 30) and problem.weight_shape == (10, 2, 5, 3)
    assert problem.output_shape == (16, 10, 32, 16)
    assert problem.stride == (1, 2) and problem.padding == (2, 2, 2, 2)
    assert problem.dtype == torch.float16 and problem.channels_last
    assert (problem.direction, problem.operation) == ("dgrad", "conv")


@pytest.mark.parametrize("line", cases.lines())
def test_text_parses_to_itself(line):
    problem = Problem.parse(line)
    assert Problem.parse(problem.text).text == problem.text


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "has no size list"),
        ("n1c3h8w8r3s3", "needs k"),
        ("n1c3h8w8k4r3s3 f8", "'f8' is no size list and no option"),
        ("n1c3c4h8w8k4r3s3", "gives c twice"),
        ("n1c3h8w8k4r3s3 maxpool", "takes no k"),
        ("n1c3h8w8k4r3s3 avgpool", "takes no k"),
        ("n1c3h8w8r3s3 avgpool maxpool", "is more than one kind of pooling"),
        ("n1c3h8w8r3s3 avgpool offsets", "has window offsets, which only maxpool"),
        ("n1c3h8w8r3s3 maxpool values offsets", "has window offsets, which only maxpool"),
        ("n1c3h16w16r16s16 maxpool offsets", "numbers at most 255 taps"),
        ("n1c3h8w8r3s3 maxpool divisor3", "has options of an average pooling, but is none"),
        ("n1c3h8w8r3s3u2 adaptive_avgpool", "is adaptive and takes no stride"),
        ("n1c3h8w8r3s3 odd_avgpool", "'odd_avgpool' is no option"),
        ("n1c3h8w8k4r3s3 unfold", "is an unfold or fold and takes no k"),
        ("n1c3h8w8r3s3 unfold maxpool", "is more than one kind"),
        ("n1c3h8w8r3s3 fold nhwc", "needs h, and takes no d, nhwc or ceil"),
        ("n1c3w8s3 unfold", "needs h, and takes no d"),
        ("n1c3h2w8r3s3 fold", "no window that fits into the padded image"),
        ("n1c3h8w8r3s3u0 unfold", "unfold: stride should be greater than zero"),
        ("n1c3h8w8r3s3 complex maxpool", "which only unfold and fold of f16, f32 or f64 are"),
        ("n1c3k4r3s3", "gives neither h nor w"),
        ("n1c3h8w8k4r9s9", "Kernel size can't be greater than actual input size"),
        ("n1g2c3h8w8k4r3s3", "divisible by groups"),
    ],
)
def test_bad_strings(text, reason):
    with pytest.raises((ValueError, RuntimeError), match=reason):
        Problem.parse(text)


def layers():
    yield nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9), "n2c4w9k6s3p1"
    yield nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 4, 9, 8), "n2g2c4h9w8k6r3s3u2"
    yield nn.Conv2d(4, 6, (3, 2), padding=(1, 0)), (4, 9, 8), "n1c4h9w8k6r3s2ph1"
    yield nn.Conv2d(4, 6, 4, padding="same"), (1, 4, 9, 9), "n1c4h9w9k6r4s4p1pb2pr2"
    yield nn.Conv2d(4, 6, 3, padding="valid"), (1, 4, 9, 9), "n1c4h9w9k6r3s3"
    yield nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (1, 4, 9, 8), "n1c4h11w10k6r3s3"
    yield nn.Conv3d(2, 3, 3, dilation=(1, 2, 1)), (1, 2, 5, 6, 7), "n1c2d5h6w7k3t3r3s3lh2"
    yield nn.ConvTranspose2d(6, 4, 3, stride=2), (2, 6, 4, 4), "n2c4h9w9k6r3s3u2 dgrad"
    yield nn.MaxPool2d(3, 2, 1), (2, 4, 9, 9), "n2c4h9w9r3s3u2p1 maxpool offsets"
    yield nn.MaxPool1d(2, ceil_mode=True), (4, 9), "n1c4w9s2u2 maxpool offsets ceil"
    yield nn.MaxPool1d(2, return_indices=True), (4, 9), "n1c4w9s2u2 maxpool"
    yield nn.MaxPool2d(16), (4, 16, 16), "n1c4h16w16r16s16u16 maxpool"
    yield nn.AvgPool2d(3, 2, 1), (2, 4, 9, 9), "n2c4h9w9r3s3u2p1 avgpool"
    yield nn.AvgPool1d(2, 1, 0, True, False), (4, 9), "n1c4w9s2 avgpool ceil exclude_pad"
    yield (
        nn.AvgPool3d((1, 2, 2), divisor_override=3),
        *((1, 2, 5, 6, 7), "n1c2d5h6w7t1r2s2uh2uw2 avgpool divisor3"),
    )
    yield nn.AdaptiveAvgPool1d(4), (2, 4, 9), "n2c4w9s4 adaptive_avgpool"
    yield nn.AdaptiveAvgPool2d((None, 3)), (4, 9, 8), "n1c4h9w8r9s3 adaptive_avgpool"
    yield nn.Unfold((3, 2), 2, 1, (2, 1)), (4, 9, 8), "n1c4h9w8r3s2uh2p1l2 unfold"
    yield nn.Fold((5, 6), 2), (3, 16, 20), "n3c4h5w6r2s2 fold"


@pytest.mark.parametrize(
    "layer, shape, text", layers(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_of_layer(layer, shape, text):
    """The string, and running the problem is running the layer."""
    x = testing.integer_tensor(*shape)
    found = problems.of_layer(layer, x)
    assert found == text
    if getattr(layer, "padding_mode", "zeros") != "zeros":
        return
    for parameter in layer.parameters():
        parameter.data = testing.integer_tensor(*parameter.shape)
    problem = Problem.parse(found)
    batched = x if x.dim() == len(problem.kernel) + 2 else x.unsqueeze(0)
    result = problems.run(problem, torch.ops.cnnkern, batched, *layer.parameters())
    result = result[0] if isinstance(result, tuple) else result
    wanted = layer(x)[0] if getattr(layer, "return_indices", False) else layer(x)
    testing.assert_equal(result.reshape(wanted.shape), wanted, text)


def test_of_layer_dtype_and_format():
    x = torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    assert problems.of_layer(nn.Conv2d(4, 4, 3), x) == "n1c4h8w8k4r3s3 bf16 nhwc"
    columns = torch.zeros(1, 16, 20, dtype=torch.complex128)
    assert problems.of_layer(nn.Fold((5, 6), 2), columns) == "n1c4h5w6r2s2 f64 complex fold"
    assert problems.of_layer(nn.Fold((5, 6), 2), columns, "dgrad").endswith(" f64 complex unfold")
    assert Problem.parse("n1c4h5w6r2s2 f64 complex fold").dtype == torch.complex128
    with pytest.raises(ValueError, match="direction is 'up'"):
        problems.of_layer(nn.Conv2d(4, 4, 3), x, "up")


def test_read(tmp_path):
    file = tmp_path / "some.txt"
    file.write_text("# a comment\n\nlayer n1c3h8w8k4r3s3  # another\nn1c2w5s2 maxpool\n")
    assert list(problems.read(file)) == ["layer n1c3h8w8k4r3s3", "n1c2w5s2 maxpool"]


def test_assertions_can_fail():
    x = torch.ones(3)
    with pytest.raises(AssertionError, match="1 of 3 elements differ, the first at"):
        testing.assert_equal(x, torch.tensor([1.0, 2.0, 1.0]))
    with pytest.raises(AssertionError, match="largest error"):
        testing.assert_close_to_float64(x + 1e-3, x, x.double())
    testing.assert_close_to_float64(x + 1e-7, x, x.double())
    with pytest.raises(RuntimeError, match="there is no kernel named none"):  # noqa: SIM117
        with testing.force_kernel("max_pool", "none"):
            ours.max_pool1d(torch.zeros(1, 1, 4), 2)
    assert ours.max_pool1d(torch.zeros(1, 1, 4), 2).shape == (1, 1, 2)
