"""Layer arithmetic: output volumes by O = (N + 2P − F)/S + 1, parameters, FLOPs."""

import pytest
import torch

import cnnkern
from cnnkern.models import LeNet5, create, list_models, summarize
from cnnkern.models.summary import output_extent


def test_ten_5x5_filters_on_32x32x3() -> None:
    """The textbook exercise: stride 1, padding 2 keep 32x32, and 10·(5·5·3 + 1) = 760."""
    (layer,) = summarize(cnnkern.Conv2d(3, 10, 5, stride=1, padding=2), (3, 32, 32)).layers
    assert layer.output == (10, 32, 32)
    assert layer.parameters == 760
    assert layer.formula == "(32 + 2·2 − 5)/1 + 1 = 32"
    assert layer.flops == 32 * 32 * 10 * (2 * 75 + 1)


def test_lenet5_has_the_papers_sizes() -> None:
    summary = summarize(LeNet5(), (1, 32, 32))
    outputs = {layer.name: layer.output for layer in summary.layers}
    assert outputs == {
        "c1": (6, 28, 28),
        "s2": (6, 14, 14),
        "c3": (16, 10, 10),
        "s4": (16, 5, 5),
        "c5": (120, 1, 1),
        "f6": (84,),
        "output": (10,),
    }
    assert summary.parameters == 156 + 2416 + 48120 + 10164 + 850
    assert summary.flops == sum(layer.flops for layer in summary.layers)


@pytest.mark.parametrize("size", [5, 7, 8, 12])
@pytest.mark.parametrize("filter", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_formula_is_what_the_layer_does(size: int, filter: int, stride: int, padding: int) -> None:
    layer = cnnkern.Conv2d(1, 1, filter, stride, padding)
    expected = output_extent(size, filter, stride, padding)
    assert layer(torch.zeros(1, 1, size, size)).shape == (1, 1, expected, expected)


def test_dilation_and_unequal_axes_show_in_the_formula() -> None:
    layer = cnnkern.Conv2d(1, 1, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(2, 1))
    (row,) = summarize(layer, (1, 9, 6)).layers
    assert row.formula == "(9 + 2·1 − 5)/2 + 1 = 4, (6 + 2·0 − 2)/1 + 1 = 5"
    assert row.output == (1, 4, 5)


def test_transposed_convolution_counts_the_products_of_its_input() -> None:
    (row,) = summarize(cnnkern.ConvTranspose2d(2, 3, 4, stride=2, bias=False), (2, 5, 5)).layers
    assert row.output == (3, 12, 12)
    assert row.flops == 2 * (2 * 5 * 5) * (3 * 4 * 4)


def test_training_mode_and_weights_survive_a_summary() -> None:
    model = LeNet5()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summarize(model, model.input_shape)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_registry() -> None:
    assert "lenet5" in list_models()
    assert isinstance(create("lenet5", num_classes=4)(torch.zeros(2, 1, 32, 32)), torch.Tensor)
    with pytest.raises(ValueError, match=r"no model named 'lenet6'; known: .*lenet5"):
        create("lenet6")


def test_layers_come_from_the_namespace_that_is_given() -> None:
    assert type(LeNet5().c1) is cnnkern.Conv2d
    assert type(LeNet5(layers=torch.nn).c1) is torch.nn.Conv2d
    torch.manual_seed(3)
    ours = LeNet5().state_dict()
    torch.manual_seed(3)
    theirs = LeNet5(layers=torch.nn).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
