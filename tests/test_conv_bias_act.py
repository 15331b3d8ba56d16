"""The fused convolution: values, derivatives of every order, transforms, compilation, layers."""

import copy
import itertools
import math
import pickle

import cases
import mpmath
import pytest
import torch

import cnnkern
from cnnkern import functional as ours
from cnnkern import problems, testing

F = torch.nn.functional
ACTIVATIONS = {
    None: lambda z: z,
    "relu": F.relu,
    "relu6": F.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = {  # of input and weight, and the window's arguments
    1: ((2, 4, 19), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    2: ((2, 4, 9, 8), (6, 4, 3, 2), {"padding": ((1, 0), (0, 1)), "dilation": (1, 2)}),
    3: ((1, 4, 4, 5, 6), (4, 1, 2, 3, 2), {"padding": 1, "groups": 4}),
}
needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
BACKENDS = ["cpu", pytest.param("emulator", marks=needs_emulator)]
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def fused(dims, activation):
    """f(x, w, bias, residual), ours, with the window of SHAPES."""
    function, window = getattr(ours, f"conv{dims}d_bias_act"), SHAPES[dims][2]
    return lambda x, w, b, r=None: function(x, w, b, activation=activation, residual=r, **window)


def composed(dims, activation):
    """The same by torch, one operation after another."""
    window, conv = dict(SHAPES[dims][2]), getattr(F, f"conv{dims}d")
    padding = window.pop("padding")

    def function(x, w, b, r=None):
        pairs = padding if isinstance(padding, tuple) else [(padding, padding)] * dims
        z = conv(F.pad(x, [side for pair in reversed(pairs) for side in pair]), w, b, **window)
        return ACTIVATIONS[activation](z if r is None else z + r)

    return function


def tensors(dims, dtype=torch.float64, last=False, seed=0):
    """x, w, bias, residual: multiples of 1/16, so that sums are exact in float32."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        values = ((16 * values).round() / 16).to(dtype)
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        form = formats.get(values.dim()) if last else None
        return values.contiguous(memory_format=form or torch.contiguous_format)

    shape, filters, _ = SHAPES[dims]
    x, w, b = draw(shape), draw(filters), draw(filters[:1])
    return x, w, b, draw(composed(dims, None)(x.float(), w.float(), None).shape)


# --------------------------------------------------------------------------------------------------
# Values


@every_activation
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_values(backend, dims, dtype, last, activation):
    """With and without bias and residual: at most twice torch's error, plus a few ulps."""
    x, w, b, r = tensors(dims, dtype, last)
    for bias, residual in ((b, r), (b, None), (None, r)):
        args = (x, w, bias, residual)
        exact = composed(dims, activation)(*(None if t is None else t.double() for t in args))
        with cnnkern.backend(backend):
            found = fused(dims, activation)(*args)
        testing.assert_close_to_float64(found, composed(dims, activation)(*args), exact)
        wanted = getattr(ours, f"conv{dims}d")(x, w, **SHAPES[dims][2])
        assert found.stride() == wanted.stride()


EXACT = {  # by mpmath, in 50 digits
    None: lambda x: x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
}


@every_activation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_activation_alone(backend, dtype, activation):
    """A 1 x 1 convolution with 1: the activation's accuracy on numbers of each magnitude."""
    bounds = [0, 1e-30, 1e-10, 1e-3, 0.1, 0.6, 1, 3, 6, 12, 100, 900]
    one = torch.ones(1, 1, 1, dtype=dtype)
    for low, high in itertools.pairwise(bounds):
        for sign in (1, -1):
            x = sign * torch.linspace(low, high, 61, dtype=dtype)
            with mpmath.workdps(50):
                exact = [float(EXACT[activation](mpmath.mpf(v))) for v in x.tolist()]
            with cnnkern.backend(backend):
                found = ours.conv1d_bias_act(x.view(1, 1, -1), one, activation=activation)
            theirs, label = ACTIVATIONS[activation](x), f"{sign * low} to {sign * high}"
            testing.assert_close_to_float64(found.flatten(), theirs, exact, 2, label)


@every_activation
@pytest.mark.parametrize("backend", BACKENDS)
def test_activation_of_infinity_and_nan(backend, activation):
    x = torch.tensor([math.inf, -math.inf, math.nan])
    with cnnkern.backend(backend):
        found = ours.conv1d_bias_act(x.view(1, 1, -1), torch.ones(1, 1, 1), activation=activation)
    wanted = ACTIVATIONS[activation](x)
    if activation == "gelu":
        wanted[0] = math.inf  # the limit; torch's vectors give NaN
    testing.assert_equal(found.flatten(), wanted)


@pytest.mark.parametrize("kernel", ["depthwise", "direct", "implicit_gemm", "reference"])
@every_activation
def test_every_cpu_kernel(kernel, activation):
    """Ragged rows, so that lanes and tails are seen; float16, so that stores convert."""
    window = {"depthwise": "n1g3c3h5w37k3r3s3p1", "direct": "n1c2h5w37k3r3s3p1"}
    word = f" {activation}" if activation else ""
    for option in ("f32", "f16"):
        text = f"{window.get(kernel, 'n1c5h5w7k19r3s3p1')} {option}{word} residual preactivation"
        problem = problems.Problem.parse(text)
        values = [t.to(problem.dtype).double() for t in cases.operands(problem, cases.reals)]
        with testing.force_kernel("conv", kernel):
            output, kept = problems.run(
                problem, torch.ops.cnnkern, *cases.prepared(problem, values)
            )
        x, w, b, r = (value.to(problem.dtype) for value in values)
        z = F.conv2d(x, w, b, padding=1, groups=problem.groups) + r
        linear = F.conv2d(*values[:3], padding=1, groups=problem.groups) + values[3]
        testing.assert_close_to_float64(kept, z, linear, label=text)
        act = ACTIVATIONS[activation]
        testing.assert_close_to_float64(output, act(z), act(linear), label=text)


def test_one_kernel_runs():
    x, w, b, r = tensors(2)
    with testing.launches() as ran:
        fused(2, "silu")(x, w, b, r)
    assert sum(ran.values()) == 1, ran


def test_residual_of_any_strides():
    x, w, b, r = tensors(2)
    dense = fused(2, "relu")(x, w, b, r)
    last = r.contiguous(memory_format=torch.channels_last)
    for view in (last, testing.guarded_copy(r), testing.guarded_copy(r, 3, 1)):
        testing.assert_equal(fused(2, "relu")(x, w, b, view), dense)
    one = r[:1, :1, :1, :1].expand_as(r)
    testing.assert_equal(fused(2, "relu")(x, w, b, one), fused(2, "relu")(x, w, b, one.clone()))


def test_unbatched_and_empty():
    x, w, b, r = tensors(2)
    found = fused(2, "gelu")(x[0], w, b, r[0])
    assert found.shape == r[0].shape
    testing.assert_equal(found, fused(2, "gelu")(x[:1], w, b, r[:1])[0])
    assert fused(2, "gelu")(x[:0], w, b, r[:0]).shape == r[:0].shape
    w.requires_grad_()
    fused(2, "gelu")(x[:0], w, b, r[:0]).sum().backward()
    assert not w.grad.any()


# --------------------------------------------------------------------------------------------------
# Derivatives


@every_activation
@pytest.mark.parametrize("dims, count", [(1, 4), (2, 3), (3, 4)])
def test_gradcheck(dims, count, activation):
    args = tensors(dims)[:count]
    args[2].add_(1 / 512)  # off the corners of relu, relu6, hardswish: no difference may cross them
    args = [t.requires_grad_() for t in args]
    torch.autograd.gradcheck(fused(dims, activation), args, fast_mode=True)
    torch.autograd.gradgradcheck(fused(dims, activation), args, fast_mode=True)


@every_activation
@pytest.mark.parametrize("backend", BACKENDS)
def test_third_order(backend, activation):
    """Derivative by derivative against torch's."""

    def orders(function):
        args = [t.requires_grad_() for t in tensors(1)]
        value, found = function(*args).square().sum(), []
        for _ in range(3):
            grads = torch.autograd.grad(value, args, create_graph=True, materialize_grads=True)
            found += grads
            value = sum(grad.square().sum() for grad in grads)
        return found

    with cnnkern.backend(backend):
        mine = orders(fused(1, activation))
    for found, wanted in zip(mine, orders(composed(1, activation)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@every_activation
@pytest.mark.parametrize("some", [(0,), (1,), (2,), (3,), (0, 3)], ids=str)
def test_only_some_gradients(activation, some):
    args, theirs = tensors(2), tensors(2)
    for i in some:
        args[i].requires_grad_(), theirs[i].requires_grad_()
    fused(2, activation)(*args).square().sum().backward()
    composed(2, activation)(*theirs).square().sum().backward()
    for i, (mine, other) in enumerate(zip(args, theirs)):
        assert (mine.grad is not None) == (i in some)
        if i in some:
            torch.testing.assert_close(mine.grad, other.grad)


@every_activation
def test_func_transforms(activation):
    """jvp, vmap, grad and their compositions equal those of torch's own operations."""
    from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

    args = tensors(1)
    tangents = tensors(1, seed=1)
    pairs = [fused(1, activation), composed(1, activation)]

    def compare(transform):
        for mine, theirs in zip(*(transform(f) for f in pairs), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)

    x, w, b, r = args
    compare(lambda f: jvp(f, args, tangents))
    compare(lambda f: jvp(lambda x: f(x, w, b), (x,), tangents[:1]))
    compare(lambda f: grad(lambda *a: f(*a).square().sum(), argnums=(0, 1, 2, 3))(*args))
    compare(lambda f: jacrev(lambda b: f(x, w, b, r))(b))
    compare(lambda f: jacfwd(lambda w: f(x, w, b, r))(w))
    compare(lambda f: hessian(lambda b: f(x, w, b, r).square().sum())(b))
    many = [torch.stack([t, 2 * t, -t]) for t in args]
    for mapped in [(0, 0, 0, 0), (0, None, None, 0), (None, 0, None, None), (None, None, 0, 0)]:
        mixed = [m if dim == 0 else t for m, t, dim in zip(many, args, mapped)]
        compare(lambda f, mapped=mapped, mixed=mixed: vmap(f, mapped)(*mixed))
    each = vmap(grad(lambda w, x: pairs[0](x, w, b).square().sum()), (None, 0))(w, x[:, None])
    wanted = vmap(grad(lambda w, x: pairs[1](x, w, b).square().sum()), (None, 0))(w, x[:, None])
    torch.testing.assert_close(each, wanted, rtol=1e-9, atol=1e-9)


def test_the_preactivation_is_kept_only_for_training():
    x, w, b, r = tensors(2)
    p = ([1, 1], [1, 0, 0, 1], [1, 2], 1)
    assert torch.ops.cnnkern.conv_bias_act(x, w, b, None, *p, "silu", False, None)[1].numel() == 0
    saved = {}
    for activation in ACTIVATIONS:
        for training in (False, True):
            w.requires_grad_(training)
            y = fused(2, activation)(x, w, b, r)
            saved[activation, training] = sum(
                t is not None and t.shape == y.shape
                for t in getattr(y.grad_fn, "saved_tensors", ())
            )
    assert not any(saved[activation, False] for activation in ACTIVATIONS)
    assert saved["gelu", True] == 2 and saved["relu", True] == 1
    y, _ = torch.ops.cnnkern.conv_bias_act(x, w, b, None, *p, "silu", False, None)
    with pytest.raises(RuntimeError, match="pass keep_preactivation=True"):
        y.sum().backward()


# --------------------------------------------------------------------------------------------------
# torch.compile, export, autocast, opcheck


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize(
    "namespace", ["cnnkern", pytest.param("cnnkern_emulator", marks=needs_emulator)]
)
def test_opcheck(namespace, activation):
    operator = getattr(torch.ops, namespace).conv_bias_act.default
    keep = activation in ("gelu", "silu", "hardswish")
    for last, with_residual in ((False, True), (True, False)):
        x, w, b, r = (t.requires_grad_() for t in tensors(2, last=last))
        args = (x, w, b, r if with_residual else None, [1, 1], [1, 0, 0, 1], [1, 2], 1)
        torch.library.opcheck(operator, (*args, activation, keep, None))


@pytest.fixture
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Residual(torch.nn.Module):
    """A pair of blocks with a shortcut."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(2)
        self.first = cnnkern.ConvBlock2d(4, 4, 3, padding=1, activation=activation)
        self.second = cnnkern.ConvBlock2d(4, 4, 3, padding=1, activation=activation)

    def forward(self, x):
        return self.second(self.first(x), x)


@every_activation
def test_compile(_fresh_dynamo, activation):
    model, eager = Residual(activation), Residual(activation)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (2, 3):
        x = torch.randn(batch, 4, 6, 7)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        found, wanted = compiled(a), eager(b)
        testing.assert_equal(found, wanted)
        found.square().sum().backward(), wanted.square().sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
        for mine, theirs in zip(model.parameters(), eager.parameters()):
            torch.testing.assert_close(mine.grad, theirs.grad)


def test_export():
    model, x = Residual("gelu"), torch.randn(2, 4, 6, 7)
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    assert "cnnkern.conv_bias_act.default" in {str(node.target) for node in program.graph.nodes}
    y = torch.randn(5, 4, 6, 7)
    testing.assert_equal(program.module()(y), model(y))


def test_autocast():
    """All four tensors are cast, as torch's convolution casts its own."""
    x, w, b, r = (t.requires_grad_() for t in tensors(2, torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fused(2, "silu")(x, w, b, r)
        raw, _ = torch.ops.cnnkern.conv_bias_act(
            x, w, b, r, [1, 1], [1, 0, 0, 1], [1, 2], 1, "silu", True, None
        )
    assert found.dtype == raw.dtype == torch.bfloat16
    testing.assert_equal(found, raw)
    found.sum().backward()
    assert w.grad.dtype == r.grad.dtype == torch.float32


def test_enabled_leaves_it_alone():
    x, w, b, r = tensors(2)
    with cnnkern.enabled():
        found = fused(2, "tanh")(x, w, b, r)
    testing.assert_equal(found, fused(2, "tanh")(x, w, b, r))


# --------------------------------------------------------------------------------------------------
# Layers


@pytest.mark.parametrize("dims", SHAPES)
def test_layers(dims):
    block = getattr(cnnkern, f"ConvBlock{dims}d")(4, 4, 3, padding=1, activation="hardswish")
    conv = getattr(torch.nn, f"Conv{dims}d")(4, 4, 3, padding=1)
    conv.load_state_dict(block.state_dict())
    assert isinstance(block, type(conv)) and isinstance(block, cnnkern.ConvBlock)
    x = torch.randn(2, 4, *[5] * dims)
    torch.testing.assert_close(block(x), F.hardswish(conv(x)))
    torch.testing.assert_close(block(x, x), F.hardswish(conv(x) + x))
    for again in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)), cnnkern.convert(block)):
        assert type(again) is type(block) and repr(again) == repr(block)
        testing.assert_equal(again(x, x), block(x, x))


def test_layer_with_a_padding_mode():
    block = cnnkern.ConvBlock2d(2, 3, 3, padding=1, padding_mode="circular", activation=None)
    conv = torch.nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
    conv.load_state_dict(block.state_dict())
    x = torch.randn(1, 2, 5, 5)
    torch.testing.assert_close(block(x), conv(x))
    assert problems.of_layer(cnnkern.ConvBlock1d(2, 3, 3), torch.zeros(1, 2, 9)) == (
        "n1c2w9k3s3 relu"
    )


def test_explain_names_the_epilogue():
    found = cnnkern.explain("n1c8h9w8k67r3s3p1 nhwc gelu residual", device="sm_80")
    assert found.problem.endswith("gelu residual") and "implicit_gemm" in found.kernel


# --------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_errors(device):
    x, w, b, r = (t.to(device) for t in tensors(2))
    conv = ours.conv2d_bias_act
    with pytest.raises(ValueError, match="activation is 'swish', but relu, relu6, tanh, sigmoid"):
        conv(x, w, b, activation="swish")
    with pytest.raises(ValueError, match="ConvBlock2d: activation is 'swish'"):
        cnnkern.ConvBlock2d(1, 1, 1, activation="swish")
    with pytest.raises(TypeError, match="use ConvBlock1d, ConvBlock2d or ConvBlock3d"):
        cnnkern.ConvBlock(1, 1, 1)
    with pytest.raises(TypeError, match=r"'residual' \(position 9\) must be Tensor, not int"):
        conv(x, w, b, residual=1)
    with pytest.raises(
        RuntimeError, match=r"expected residual of the output's size \[2, 6, 7, 7\]"
    ):
        conv(x, w, b, residual=r)
    with pytest.raises(RuntimeError, match=r"residual type \(float32\) should be the same"):
        conv(x, w, b, residual=torch.zeros(2, 6, 7, 7, device=device))
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 3 channels"):
        conv(x[:, :3], w, b)
    with pytest.raises(RuntimeError, match="activation is 'swish'"):
        torch.ops.cnnkern.conv_bias_act(
            x, w, b, None, [1, 1], [0] * 4, [1, 1], 1, "swish", False, None
        )


@pytest.mark.parametrize(
    "text, reason",
    [
        ("n1c3h8w8k4r3s3 dgrad relu", "which only fprop takes"),
        ("n1c3h8w8k4r3s3 wgrad residual", "which only fprop takes"),
        ("n1c3h8w8r3s3 maxpool relu", "is a pooling and takes no activation"),
    ],
)
def test_bad_strings(text, reason):
    with pytest.raises(ValueError, match=reason):
        problems.Problem.parse(text)
