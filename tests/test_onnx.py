"""ONNX export of converted models: standard operators, and the model's own outputs."""

import onnx
import onnxruntime
import pytest
import small_net
import torch

import cnnkern
from cnnkern import functional as ours
from cnnkern import onnx as cnnkern_onnx


class Call(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


def exported(model, inputs, dynamic_shapes=None) -> onnx.ModelProto:
    program = torch.onnx.export(
        model, inputs, dynamo=True, dynamic_shapes=dynamic_shapes, verbose=False,
        custom_translation_table=cnnkern_onnx.translation_table(),
    )  # fmt: skip
    onnx.checker.check_model(program.model_proto, full_check=True)
    domains = {node.domain for node in program.model_proto.graph.node}
    assert domains <= {"", "ai.onnx"}, domains
    return program.model_proto


def run(proto: onnx.ModelProto, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """By ONNX Runtime: ONNX's own evaluator computes grouped ConvTranspose wrongly."""
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    feeds = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    return [torch.from_numpy(array) for array in session.run(None, feeds)]


def kinds(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def test_a_converted_model():
    model = small_net.ours().eval()
    x = small_net.batch()
    proto = exported(model, (x,))
    for kind, count in (("Conv", 2), ("ConvTranspose", 1), ("MaxPool", 1)):
        assert kinds(proto).count(kind) == count, kinds(proto)
    torch.testing.assert_close(run(proto, x)[0], model(x), rtol=1e-5, atol=1e-5)


def test_dynamic_batch_and_size():
    model = small_net.ours().eval()
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    proto = exported(model, (small_net.batch(),), ({k: d for k, d in dims.items()},))
    for x in (small_net.batch(), small_net.batch(3, 15, 9)):
        torch.testing.assert_close(run(proto, x)[0], model(x), rtol=1e-5, atol=1e-5)


CONVOLUTIONS = {
    "conv1d": ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    "conv2d": ((2, 2, 6, 7), (3, 2, 2, 3), {"padding": ((1, 0), (2, 1)), "dilation": (2, 1)}),
    "conv3d": ((1, 2, 4, 5, 3), (2, 2, 2, 2, 2), {"padding": (1, 0, 1)}),
    "conv_transpose1d": ((2, 2, 4), (2, 3, 3), {"stride": 3, "output_padding": 2}),
    "conv_transpose2d": ((1, 4, 3, 3), (4, 1, 2, 3), {"stride": (2, 1), "padding": (0, 1),
                                                      "groups": 2}),
    "conv_transpose3d": ((1, 2, 2, 3, 2), (2, 2, 2, 2, 1), {"stride": 2, "dilation": (1, 2, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, bias):
    x, w, kwargs = CONVOLUTIONS[name]
    out = w[1] * kwargs.get("groups", 1) if "transpose" in name else w[0]
    tensors = [torch.randn(shape) for shape in (x, w, (out,))][: 3 if bias else 2]
    call = Call(lambda *args: getattr(ours, name)(*args, **kwargs))
    proto = exported(call, tuple(tensors))
    assert "Conv" + "Transpose" * ("transpose" in name) in kinds(proto)
    torch.testing.assert_close(run(proto, *tensors)[0], call(*tensors), rtol=1e-5, atol=1e-5)


def test_fused_convolutions():
    names = (None, "relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "hardswish")
    w, b, x = 3 * torch.randn(4, 4, 3, 3), torch.randn(4), torch.randn(1, 4, 5, 6)

    def function(x):
        for name in names:
            x = ours.conv2d_bias_act(x, w, b, padding=1, activation=name, residual=x)
        return x

    proto = exported(Call(function), (x,))
    assert kinds(proto).count("Conv") == len(names)
    torch.testing.assert_close(run(proto, x)[0], function(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_max_pool(dims):
    pool = getattr(ours, f"max_pool{dims}d")
    call = Call(lambda x: pool(x, 3, 2, 1, return_indices=True))
    x = torch.randn(2, 3, *[8, 7, 6][:dims])
    for found, wanted in zip(run(exported(call, (x,)), x), call(x), strict=True):
        assert torch.equal(found, wanted)


def test_no_indices_are_computed_in_vain():
    proto = exported(torch.nn.Sequential(cnnkern.MaxPool2d(2)), (torch.randn(1, 2, 6, 6),))
    assert kinds(proto) == ["MaxPool"]


POOLS = {
    "average": (cnnkern.AvgPool2d(3, 2, 1), "AveragePool"),
    "average, without padding": (
        cnnkern.AvgPool2d(3, 2, 1, count_include_pad=False), "AveragePool"
    ),
    "average, divisor": (cnnkern.AvgPool2d((2, 3), divisor_override=5), "AveragePool"),
    "average, 1-d": (cnnkern.AvgPool1d(3), "AveragePool"),
    "average, 3-d": (cnnkern.AvgPool3d((2, 3, 1)), "AveragePool"),
    "global": (cnnkern.AdaptiveAvgPool2d(1), "GlobalAveragePool"),
    "adaptive": (cnnkern.AdaptiveAvgPool2d((3, 4)), "MatMul"),
    "adaptive, 3-d": (cnnkern.AdaptiveAvgPool3d((2, 3, 2)), "MatMul"),
    "lp": (cnnkern.LPPool2d(2, 3, 2), "LpPool"),
    "lp, 1-d": (cnnkern.LPPool1d(4, 3), "LpPool"),
    "lp, 3-d": (cnnkern.LPPool3d(2.0, (2, 3, 1), 2), "LpPool"),
    "lp of an odd power": (cnnkern.LPPool2d(1, 3, 2), "AveragePool"),
    "adaptive max": (cnnkern.AdaptiveMaxPool2d((3, 2)), "MaxPool"),
    "adaptive max, 3-d": (cnnkern.AdaptiveMaxPool3d(1), "MaxPool"),
    "unfold": (cnnkern.Unfold((2, 3), (1, 2), (2, 1), (3, 1)), "Conv"),
    "fold": (cnnkern.Fold((5, 6), (2, 3), padding=1), "Col2Im"),
}  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_pools(name):
    layer, kind = POOLS[name]
    dims = 1 if "1-d" in name else 3 if "3-d" in name else 2
    x = torch.randn(2, 3, *[9, 8, 7][:dims])
    if name == "fold":
        x = torch.randn(2, 3 * 2 * 3, 6 * 6)
    proto = exported(torch.nn.Sequential(layer).eval(), (x,))
    assert kind in kinds(proto), kinds(proto)
    torch.testing.assert_close(run(proto, x)[0], layer(x), rtol=1e-5, atol=1e-5)


def test_lp_pool_of_dynamic_size():
    """Dilated, and of an image without a batch."""
    call = Call(lambda x: ours.lp_pool2d(x, 2, 2, 1, dilation=2))
    dims = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    proto = exported(call, (torch.randn(2, 3, 9, 8),), ((dims,),))
    assert kinds(proto) == ["LpPool"]
    x = torch.randn(1, 3, 6, 11)
    torch.testing.assert_close(run(proto, x)[0], call(x))
    proto = exported(call, (x[0],))
    assert "LpPool" in kinds(proto)
    torch.testing.assert_close(run(proto, x[0])[0], call(x[0]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_max_unpool(dims):
    """Of the maxima of overlapping windows, to a size that is not the smallest."""
    size = [8, 7, 6][:dims]
    pool, unpool = getattr(ours, f"max_pool{dims}d"), getattr(ours, f"max_unpool{dims}d")
    call = Call(lambda y, at: unpool(y, at, 2, 2, output_size=size))
    y, at = pool(torch.randn(2, 3, *size), 2, 2, return_indices=True)
    proto = exported(call, (y, at))
    assert "MaxUnpool" in kinds(proto)
    assert torch.equal(run(proto, y, at)[0], call(y, at))


REFUSED = {
    "adaptive_max_pool to [2, 3] needs an input whose fixed size is a multiple": (
        lambda x: ours.adaptive_max_pool2d(x, (2, 3))
    ),
    "fractional_max_pool has windows at random places": (
        lambda x: ours.fractional_max_pool2d(x, 2, output_size=3)
    ),
    "max_unpool to [3, 6] needs an input of fixed size that is no larger": (
        lambda x: ours.max_unpool2d(x, torch.zeros_like(x, dtype=torch.int64), 1, 1, 1)
    ),
    "AveragePool of opset 18 has no dilation": lambda x: ours.avg_pool2d(x, 2, dilation=2),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_onnx_lacks_is_said_in_one_sentence(sentence):
    with pytest.raises(torch.onnx.errors.OnnxExporterError) as found:
        exported(Call(REFUSED[sentence]), (torch.randn(1, 2, 5, 8),))
    assert f"onnx: {sentence}" in str(found.value)
