"""torch.compile(fullgraph), torch.export, opcheck, and meta tensors."""

import cases
import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import functional as ours
from cnnkern import testing

F = nn.functional


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        cnnkern.Conv2d(3, 6, 3, padding="same"),
        nn.ReLU(),
        cnnkern.MaxPool2d(2),
        cnnkern.Conv2d(6, 4, 3, groups=2, bias=False),
        cnnkern.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
    )


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_compile(dynamic, last):
    """Forward and every gradient in one graph each, with changing batch sizes."""
    model, eager = net(), net()
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for batch in (2, 3):
        x = torch.randn(batch, 3, 12, 10)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        found, wanted = compiled(a), eager(b)
        testing.assert_equal(found, wanted)
        assert found.stride() == wanted.stride()
        found.square().sum().backward(), wanted.square().sum().backward()
        testing.assert_equal(a.grad, b.grad)
        for mine, theirs in zip(model.parameters(), eager.parameters()):
            testing.assert_equal(mine.grad, theirs.grad)


def test_compile_inductor():
    model = net()
    x = torch.randn(2, 3, 12, 10)
    with torch.no_grad():
        testing.assert_equal(torch.compile(model, fullgraph=True)(x), model(x))


def test_compile_enabled():
    """enabled() works around a compiled region's calls and inside it."""
    x, w = testing.integer_tensor(1, 2, 6, 6), testing.integer_tensor(3, 2, 3, 3)

    def inside(x):
        with cnnkern.enabled():
            return F.max_pool2d(F.conv2d(x, w, padding=1), 2)

    compiled = torch.compile(inside, fullgraph=True, backend="aot_eager")
    with testing.launches() as ran:
        testing.assert_equal(compiled(x), F.max_pool2d(F.conv2d(x, w, padding=1), 2))
    assert sum(ran.values()) == 2


def test_compile_converted():
    class Scaled(nn.Conv2d):
        def forward(self, input):
            return 2 * F.conv2d(input, self.weight, self.bias)

    model = cnnkern.convert(nn.Sequential(Scaled(3, 4, 3), nn.Conv2d(4, 2, 3)))
    x = torch.randn(1, 3, 8, 8)
    with testing.launches() as ran:
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    assert sum(ran.values()) == 2
    testing.assert_equal(found, model(x))


def test_compile_autocast():
    model = net()
    x = torch.randn(2, 3, 12, 10)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        found = compiled(x)
        assert found.dtype == torch.bfloat16
        testing.assert_equal(found, model(x))


def test_export():
    model = net().eval()
    x = torch.randn(2, 3, 12, 10)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    targets = {str(node.target) for node in program.graph.nodes}
    assert "cnnkern.conv_forward.default" in targets
    assert not [t for t in targets if t.startswith("aten.conv") or "aten.max_pool" in t]
    y = torch.randn(5, 3, 12, 10)
    testing.assert_equal(program.module()(y), model(y))


# --------------------------------------------------------------------------------------------------
# opcheck: schema, fake kernels (strides too), autograd registration, AOT dispatch


def samples():
    """(operator, arguments) of convolution and max pooling, in both memory formats."""
    for last in (False, True):
        form = torch.channels_last if last else torch.contiguous_format

        def tensor(*shape, form=form):
            return torch.randn(shape, dtype=torch.float64).contiguous(memory_format=form)

        x, w, b, dy = tensor(2, 4, 7, 6), tensor(6, 2, 3, 2), torch.randn(6).double(), None
        window = ([2, 1], [1, 1, 0, 1], [1, 2], 2)
        dy = torch.ops.cnnkern.conv_forward(x, w, b, *window)
        yield "conv_forward", (x, w, b, *window)
        yield "conv_forward", (x, w, None, *window)
        yield "conv_input_grad", (dy, w, torch.randn(4).double(), [7, 6], *window)
        yield "conv_weight_grad", (dy, x, [3, 2], *window)
        yield "conv_bias_grad", (dy,)
        pool = ([3, 2], [2, 2], [1, 0], [1, 2], True)
        y, at = torch.ops.cnnkern.max_pool_forward(x, *pool)
        yield "max_pool_forward", (x, *pool)
        yield "max_pool_values", (x, *pool)
        yield "max_pool_backward", (y, at, [7, 6], *pool)
        yield "max_pool_gather", (x, at, *pool)
        _, numbers = torch.ops.cnnkern.max_pool_offsets(x, *pool)
        yield "max_pool_offsets", (x, *pool)
        yield "max_pool_backward", (y, numbers, [7, 6], *pool)
        yield "max_pool_gather", (x, numbers, *pool)
    yield "conv_forward", (torch.randn(2, 3, 9), torch.randn(4, 3, 3), None, [1], [1, 0], [1], 1)
    yield "max_pool_forward", (torch.randn(2, 3, 9), [3], [2], [1], [1], False)


@pytest.mark.parametrize("namespace", ["cnnkern", "cnnkern_emulator"])
@pytest.mark.parametrize("index", range(26))
def test_opcheck(index, namespace):
    if namespace == "cnnkern_emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    name, args = list(samples())[index]
    differentiable = [
        a.clone().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a
        for a in args
    ]
    operator = getattr(getattr(torch.ops, namespace), name).default
    torch.library.opcheck(operator, differentiable)


def test_meta_tensors():
    model = net().to("meta")
    assert model(torch.empty(2, 3, 12, 10, device="meta")).shape == (2, 2, 10, 8)
    y, at = ours.max_pool2d(torch.empty(2, 3, 8, 8, device="meta"), 2, return_indices=True)
    assert y.shape == at.shape == (2, 3, 4, 4) and at.dtype == torch.int64
