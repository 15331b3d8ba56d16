"""torch.compile with dynamic shapes, torch.export and AOTInductor: every function and layer."""

import pytest
import small_net
import torch
from test_semantics import SMALL

import cnnkern
from cnnkern import functional as ours
from cnnkern import testing

KINDS = ("Conv", "ConvTranspose", "MaxPool")
NAMES = [f"{kind}_{dims}d" for kind in KINDS for dims in (1, 2, 3)]
# (batch, *spatial): all vary, and none equals another or a weight's, which Dynamo takes for a rule.
SIZES = ((5, 13, 11, 10), (7, 14, 12, 9), (8, 15, 16, 17))


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layer(name: str) -> torch.nn.Module:
    kind, dims = name.split("_")
    made = getattr(cnnkern, kind + dims)
    if kind == "MaxPool":
        return made(3, 2, 1, ceil_mode=True)
    kwargs = {"output_padding": 1} if kind == "ConvTranspose" else {}
    return made(4, 6, 3, stride=2, padding=1, groups=2, **kwargs)


def function(name: str):
    """A call of x alone, or of x, weight and bias; and the shapes of the latter two."""
    kind, dims = name.split("_")
    if kind == "MaxPool":
        return lambda x: getattr(ours, f"max_pool{dims}")(x, 3, 2, 1, return_indices=True), []
    kind = {"Conv": "conv", "ConvTranspose": "conv_transpose"}[kind]
    _, w, kwargs = SMALL[kind + dims]
    out = w[1] * kwargs.get("groups", 1) if "transpose" in kind else w[0]
    return lambda x, w, b: getattr(ours, kind + dims)(x, w, b, **kwargs), [w, (out,)]


def inputs(name: str, channels: int = 4):
    dims = int(name[-2])
    return [torch.randn(size[0], channels, *size[1 : dims + 1]) for size in SIZES]


def results(call, *tensors) -> list[torch.Tensor]:
    """Outputs and the gradient of every floating-point tensor."""
    tensors = [t.detach().clone().requires_grad_() for t in tensors]
    outputs = call(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [*outputs, *torch.autograd.grad(outputs[0].square().sum(), tensors)]


def check_compiled(call, tensor_lists) -> None:
    """The same bits as eager, in one graph that is compiled once for all sizes."""
    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    torch._dynamo.utils.counters.clear()
    for tensors in tensor_lists:
        with testing.launches() as eager:
            wanted = results(call, *tensors)
        with testing.launches() as ran:
            found = results(compiled, *tensors)
        assert ran == eager
        for mine, theirs in zip(found, wanted, strict=True):
            testing.assert_equal(mine, theirs)
            assert mine.stride() == theirs.stride()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_compile_functions(name):
    call, shapes = function(name)
    channels = 4 if not shapes else SMALL[_small(name)][0][1]
    rest = [torch.randn(shape) for shape in shapes]
    check_compiled(call, [(x, *rest) for x in inputs(name, channels)])


def _small(name: str) -> str:
    return name.replace("ConvTranspose_", "conv_transpose").replace("Conv_", "conv")


@pytest.mark.parametrize("name", NAMES)
def test_compile_layers(name):
    check_compiled(layer(name), [(x,) for x in inputs(name)])


def test_compile_a_training_step():
    """By Inductor: the loss, every parameter's gradient and the running statistics."""
    model, eager = small_net.ours(), small_net.ours()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for n in (2, 3):
        x = small_net.batch(n)
        for each in (compiled, eager):
            each(x).square().mean().backward()
    for mine, theirs in zip(model.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(model.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


# --------------------------------------------------------------------------------------------------
# torch.export


def exported(model, x: torch.Tensor) -> torch.export.ExportedProgram:
    """With a dynamic batch and dynamic sizes."""
    dynamic = {axis: torch.export.Dim.DYNAMIC for axis in range(x.dim()) if axis != 1}
    return torch.export.export(model, (x,), dynamic_shapes=(dynamic,))


def test_export_a_model(tmp_path):
    """Through a file; loaded, it runs on our kernels at every size."""
    model = small_net.ours().eval()
    program = exported(model, small_net.batch())
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for x in (small_net.batch(), small_net.batch(5, 17, 9), small_net.batch(3, 8, 30)):
        with testing.launches() as ran:
            found = loaded(x)
        assert sum(ran.values()) == 4
        testing.assert_equal(found, model(x))


@pytest.mark.parametrize("name", NAMES)
def test_export_layers(name, tmp_path):
    model = layer(name)
    first, *others = inputs(name)
    torch.export.save(exported(model, first), tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    for x in others:
        testing.assert_equal(loaded(x), model(x))


def test_export_with_bounds():
    """A named dimension with bounds, as torch's own layers take it."""
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        small_net.ours().eval(), (small_net.batch(),), dynamic_shapes=({0: batch},)
    )
    with pytest.raises(Exception, match="64"):
        program.module()(small_net.batch(65))


def test_aot_inductor(tmp_path):
    """A compiled package, loaded again, calls our kernels."""
    model = small_net.ours().eval()
    with torch.no_grad():
        program = exported(model, small_net.batch())
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "net.pt2")
        )
        loaded = torch._inductor.aoti_load_package(path)
        for x in (small_net.batch(), small_net.batch(5, 17, 9)):
            with testing.launches() as ran:
                found = loaded(x)
            assert sum(ran.values()) == 4
            torch.testing.assert_close(found, model(x), rtol=1e-5, atol=1e-5)
