"""A compiled model: what follows a convolution goes into its constants or its kernel."""

import re

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor import config
from torch._inductor.utils import run_and_get_code
from torch.compiler import config as compiler_config
from torch.nn import functional as F

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
    assert "cnnkern.conv_bias_act.default" in code and "convolution_pointwise" not in code
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


# --------------------------------------------------------------------------------------------------
# Activations and residuals, in every compiled graph


class Chains(nn.Module):
    def __init__(self, forward) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.call = forward

    def forward(self, x: torch.Tensor):
        return self.call(self.conv, x)


def run(forward, x=None, grad=False, **options):
    """The names of cnnkern's operators in the compiled forward graph, whose result is checked."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = cnnkern.convert(Chains(forward))
    x = torch.randn(2, 4, 6, 7) if x is None else x
    graphs = []
    observe = {"post_grad_custom_post_pass": lambda graph: graphs.append(names(graph))}
    with config.patch(fx_graph_cache=False, **observe), torch.set_grad_enabled(grad):
        compiled = torch.compile(model, fullgraph=True, **options)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)
    return graphs[0]


def names(graph):
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return [name.split(".")[1] for name in called if name.startswith("cnnkern.")]


@pytest.mark.parametrize(
    "function",
    [
        F.relu, F.relu6, torch.tanh, torch.sigmoid, F.silu, F.gelu, F.hardswish,
    ],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_activations_and_residuals_are_fused(function):
    found = run(
        lambda conv, x: (
            function(conv(x)), function(conv(x) + x), function(x + conv(x)), conv(x) + x,
        )
    )  # fmt: skip
    assert found == ["conv_bias_act"] * 4


def in_place(conv, x):
    y = conv(x)
    y += x
    return y.relu_()


def test_what_is_fused_and_what_not():
    assert run(in_place) == ["conv_bias_act"]
    assert run(lambda conv, x: (lambda y: F.relu(y) + y)(conv(x))) == ["conv_forward"]
    assert run(lambda conv, x: conv(x) + x[:, :, :1]) == ["conv_forward"]
    assert run(lambda conv, x: conv(x) + 1) == ["conv_forward"]
    assert run(lambda conv, x: F.hardtanh(conv(x), 0, 5)) == ["conv_forward"]
    assert run(lambda conv, x: F.relu(conv(x) + conv(x + 1))) == ["conv_forward", "conv_bias_act"]
    assert run(lambda conv, x: F.relu(conv(x) + x), dynamic=True) == ["conv_bias_act"]
    last = torch.randn(2, 4, 6, 7).contiguous(memory_format=torch.channels_last)
    assert run(lambda conv, x: F.relu(conv(x) + x), last) == ["conv_bias_act"]
    assert run(lambda conv, x: F.relu(conv(x) + x.mT.contiguous().mT), last) == ["conv_bias_act"]


def test_training_fuses_what_its_gradient_does_not_need():
    x = torch.randn(2, 4, 6, 7)
    assert run(lambda conv, x: F.relu(conv(x) + x), x, grad=True) == ["conv_bias_act"]
    assert run(lambda conv, x: F.silu(conv(x)), x, grad=True) == ["conv_forward"]
    torch._dynamo.reset()
    model = cnnkern.convert(Chains(lambda conv, x: F.relu(conv(x) + x)))
    parameters = list(model.parameters())
    wanted = torch.autograd.grad(model(x).square().sum(), parameters)
    compiled = torch.compile(model, fullgraph=True)
    found = torch.autograd.grad(compiled(x).square().sum(), parameters)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_frozen_batch_norms_are_folded_before_the_activation_is_fused():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6()).eval()
    x = torch.randn(2, 3, 8, 8)
    y, code, folded = compiled(cnnkern.convert(model), x)
    torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert folded and "cnnkern.conv_bias_act" in code and "conv_forward.default" not in code


class TwoLayers(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 8, 1))


def test_frozen_convolutions_take_channels_last_and_packed_weights():
    model, x = TwoLayers().eval(), torch.randn(2, 16, 12, 14)
    y, code, _ = compiled(cnnkern.convert(model), x)
    wanted = model(x)
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)
    assert y.stride() == wanted.stride()
    assert "(2, 16, 12, 14), (2688, 1, 224, 16)" in code
    calls = re.findall(r"conv_bias_act.default\(.*, (\w+)\)\n", code)
    x = x.contiguous(memory_format=torch.channels_last)
    packs = torch.ops.cnnkern.conv_pack_weight(x, model[0].weight, [1, 1], [1] * 4, [1, 1], 1)
    assert len(calls) == 2
    assert calls[0].startswith("_frozen_param" if packs.numel() else "None"), calls


def test_cached_code_takes_the_packed_weights_of_the_model_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = torch.randn(2, 16, 12, 14)
    for _ in "12":
        torch._dynamo.reset()
        model = cnnkern.convert(TwoLayers().eval())
        with config.patch(freezing=True), torch.no_grad():
            y = torch.compile(model, fullgraph=True)(x)
        torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)


def test_code_that_another_version_compiled_is_not_taken_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = cnnkern.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    tag = compiler_config.cache_key_tag

    def misses(tag: str) -> int:
        torch._dynamo.reset()
        counters.clear()
        with compiler_config.patch(cache_key_tag=tag), torch.no_grad():
            torch.compile(model, fullgraph=True)(torch.zeros(1, 3, 8, 8))
        return counters["inductor"]["fxgraph_cache_miss"]

    assert "cnnkern-" in tag
    assert [misses(t) for t in (tag, tag, f"{tag}0")] == [1, 0, 1]
