"""A frozen, compiled model: what follows a convolution is folded into its constants, as torch's."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config
from torch._inductor.utils import run_and_get_code

import cnnkern


class Shifted(nn.Module):
    """A convolution followed by everything that folds, and by something that does not."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(8)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.shift = nn.Parameter(torch.rand(1, 8, 1, 1))
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x)) * self.scale / 1.25
        return torch.relu(y - self.shift + 0.5)


class Wide(nn.Module):
    """Constants that are not one per channel stay where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.row = nn.Parameter(torch.rand(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * self.row  # along the width, which is 8 too


def compiled(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, str, int]:
    """The output, the generated code, and how many operations were folded."""
    torch._dynamo.reset()
    before = counters["inductor"]["binary_folding"]
    with config.patch(freezing=True, fx_graph_cache=False), torch.no_grad():
        y, code = run_and_get_code(torch.compile(model, fullgraph=True), x)
    return y, "\n".join(code), counters["inductor"]["binary_folding"] - before


@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_and_the_like_are_folded(bias):
    torch.manual_seed(0)
    model = Shifted(bias).eval()
    converted, x = cnnkern.convert(model), torch.randn(2, 3, 8, 8)
    y, code, folded = compiled(converted, x)
    torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert "cnnkern.conv_forward" in code and "convolution_pointwise" not in code
    assert folded == compiled(model, x)[2] > 0


def test_other_constants_are_left_alone():
    torch.manual_seed(0)
    model, x = Wide().eval(), torch.randn(2, 3, 8, 8)
    y, _, folded = compiled(cnnkern.convert(model), x)
    torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert folded == 0


def test_shared_weights_keep_their_values():
    torch.manual_seed(0)
    conv, first, second = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    nn.init.uniform_(second.running_var, 2.0, 3.0)
    model = nn.Sequential(conv, first, conv, second).eval()
    x = torch.randn(1, 4, 5, 5)
    y, _, folded = compiled(cnnkern.convert(model), x)
    torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert folded > 0
