"""Average and adaptive average pooling as PyTorch has them, and the layers built of them in use."""

import itertools

import cases
import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import functional as ours
from cnnkern import problems, testing
from cnnkern.functional._arguments import FLOATS
from cnnkern.problems import Problem

F = torch.nn.functional
DIMS = (1, 2, 3)
NAMES = [f"{kind}{dims}d" for kind in ("avg_pool", "adaptive_avg_pool") for dims in DIMS]


# --------------------------------------------------------------------------------------------------
# Windows that PyTorch's samples leave out

WINDOWS = [
    {"kernel_size": k, "stride": s, "padding": p, "ceil_mode": ceil, "count_include_pad": include}
    for (k, s, p), ceil, include in itertools.product(
        [(2, 3, 1), (3, 2, 1), (4, 3, 2), (3, 5, 0)], (False, True), (False, True)
    )
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [5, 6, 8])
def test_ceil_mode_and_divisors(size, last):
    x = testing.integer_tensor(2, 3, size, size + 1, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    for window in WINDOWS:
        for divisor in (None, 7, -2):
            results = []
            for functions in (F, ours):
                a = x.clone().requires_grad_()
                y = functions.avg_pool2d(a, **window, divisor_override=divisor)
                results.append((y, *torch.autograd.grad(y, a, torch.ones_like(y))))
            torch.testing.assert_close(*results, rtol=1e-14, atol=1e-14, msg=str(window))
            assert results[0][0].stride() == results[1][0].stride()


@pytest.mark.parametrize("dims", DIMS)
def test_dilation(dims):
    """A dilated window is the mean of a strided view of the input."""
    x = cases.integers((2, 3, *[9] * dims), "x")  # sums are exact in any order
    pool = getattr(ours, f"avg_pool{dims}d")
    found = pool(x, 3, 1, dilation=4)
    testing.assert_equal(found, pool(x[(..., *[slice(0, None, 4)] * dims)], 3))
    a = x.clone().requires_grad_()

    def call(a):
        return pool(a, 2, 2, 1, dilation=3, ceil_mode=True, count_include_pad=False)

    assert torch.autograd.gradcheck(call, a, fast_mode=True)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_nan_and_infinity(dtype, last):
    """A value that is not finite is in its own windows' means, and in no other; gradients too."""
    x = testing.integer_tensor(1, 3, 7, 8).to(dtype)
    x[0, 1, 2, 3], x[0, 2, 5, 5] = float("nan"), -float("inf")
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    for kwargs in ({}, {"stride": 1, "padding": 1}, {"stride": 3, "ceil_mode": True}):
        results = []
        for functions in (F, ours):
            a = x.clone().requires_grad_()
            y = functions.avg_pool2d(a, 2, count_include_pad=False, **kwargs)
            dy = torch.ones_like(y)
            dy[0, 0, 1, 1], dy[0, 1, 0, 0] = float("inf"), float("nan")
            results.append((y, *torch.autograd.grad(y, a, dy)))
        torch.testing.assert_close(*results, equal_nan=True, rtol=0.01, atol=0.01)


def test_adaptive_sizes():
    x = testing.integer_tensor(2, 3, 5, 7, dtype=torch.float64)
    for size in (1, 3, (None, 2), (7, 9), (5, None)):
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        theirs, found = F.adaptive_avg_pool2d(a, size), ours.adaptive_avg_pool2d(b, size)
        torch.testing.assert_close(found, theirs, rtol=1e-14, atol=1e-14)
        theirs.square().sum().backward(), found.square().sum().backward()
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-14, atol=1e-14)
    assert ours.adaptive_avg_pool2d(x[0], 2).shape == (3, 2, 2)
    assert ours.adaptive_avg_pool2d(x[:0], 2).shape == (0, 3, 2, 2)
    empty = ours.adaptive_avg_pool2d(b, (0, 3))  # torch has this too, but no gradient of it
    assert empty.shape == (2, 3, 0, 3)
    assert not torch.autograd.grad(empty.sum(), b)[0].any()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: ours.avg_pool2d(x, 9), RuntimeError, "Output size is too small"),
        (lambda x: ours.avg_pool2d(x, 0), RuntimeError, "should be greater than zero, but got 0"),
        (lambda x: ours.avg_pool2d(x, 2, 0), RuntimeError, "stride should be greater than zero"),
        (lambda x: ours.avg_pool2d(x, 2, dilation=0), RuntimeError, "dilation should be greater"),
        (lambda x: ours.avg_pool2d(x[:, :0], 2), RuntimeError, "non-zero size for non-batch"),
        (lambda x: ours.avg_pool2d(x, (1, 2, 3)), RuntimeError, "expected kernel_size to be a"),
        (lambda x: ours.avg_pool2d([1], 2), TypeError, "'input' .* must be Tensor"),
        (lambda x: ours.avg_pool2d(x.bool(), 2), NotImplementedError, "not implemented for 'Bool'"),
        (lambda x: ours.adaptive_avg_pool2d(x, "ab"), TypeError, "'output_size' must be"),
        (lambda x: ours.lp_pool2d(x, 0, 2), ValueError, "norm_type must be a non-zero value"),
        (lambda x: ours.weighted_avg_pool2d(x, x[0, 0, 0]), RuntimeError, "expected weight of 2"),
        (lambda x: ours.weighted_avg_pool2d(x[0, 0], x), RuntimeError, "3 or 4 dimensions"),
        (lambda x: ours.spatial_pyramid_pool(x[0, 0]), RuntimeError, "3, 4 or 5 dimensions"),
        (lambda x: ours.spatial_pyramid_pool(x, ()), ValueError, "levels is empty"),
        (lambda x: ours.spatial_pyramid_pool(x, mode="min"), ValueError, "mode is 'min'"),
        (
            lambda x: cnnkern.WeightedAvgPool2d(2, weight=x[0, 0]),
            ValueError,
            r"expected weight of size \(2, 2\)",
        ),
        (lambda x: cnnkern.GlobalLPPool2d(0), ValueError, "norm_type must be a non-zero value"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.zeros(2, 3, 6, 6))


# --------------------------------------------------------------------------------------------------
# PyTorch citizenship

LAYERS = [
    *(("AvgPool", (3, 2, 1, True, False), dims) for dims in DIMS),
    *(("AdaptiveAvgPool", (3,), dims) for dims in DIMS),
    *(("LPPool", (2, 3, 2), dims) for dims in DIMS),
]


@pytest.mark.parametrize("kind, args, dims", LAYERS)
def test_layers_convert_and_dispatch(kind, args, dims):
    """Same constructor and repr as torch's, converted both ways, and no other pooling runs."""
    name = f"{kind}{dims}d"
    layer, theirs = getattr(cnnkern, name)(*args), getattr(nn, name)(*args)
    assert repr(layer) == repr(theirs) and isinstance(layer, type(theirs))
    converted = cnnkern.convert(theirs)
    assert type(converted) is type(layer) and type(cnnkern.revert(converted)) is type(theirs)
    x = torch.randn(2, 3, *[9] * dims)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    with testing.launches() as ran, torch.profiler.profile() as profile:
        torch.autograd.grad(converted(a).square().sum(), a, create_graph=True)[0].sum().backward()
    assert sum(count for kernel, count in ran.items() if "avg_pool" in kernel) >= 3, ran
    assert not [e.key for e in profile.key_averages() if "aten::" in e.key and "pool" in e.key]
    torch.autograd.grad(theirs(b).square().sum(), b, create_graph=True)[0].sum().backward()
    torch.testing.assert_close(converted(x), theirs(x))
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("dims", DIMS)
def test_enabled(dims):
    x = torch.randn(2, 3, *[8] * dims)
    modules = (torch, torch._C._nn, F)
    calls = [
        (getattr(module, f"{kind}{dims}d"), args)
        for kind, args in (("avg_pool", (2,)), ("adaptive_avg_pool", (3,)), ("lp_pool", (2, 2)))
        for module in modules
        if hasattr(module, f"{kind}{dims}d")
    ]
    assert len(calls) == 5
    for call, args in calls:
        with testing.launches() as ran, cnnkern.enabled():
            found = call(x, *args)
        assert any("avg_pool" in kernel for kernel in ran), call
        torch.testing.assert_close(found, call(x, *args))


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_autocast(name, low):
    """No casts, but to float32 where torch does (3-d on the CPU); whatever torch does, we do."""
    for dtype in FLOATS:
        x = torch.randn(1, 2, *[6] * int(name[-2])).to(dtype)
        with torch.autocast("cpu", dtype=low):
            assert getattr(ours, name)(x, 2).dtype == getattr(F, name)(x, 2).dtype


@pytest.mark.parametrize("name", NAMES)
def test_torch_func(name):
    x = cases.reals((2, 2, 5, 4, 3)[: 2 + int(name[-2])], "x")
    args = (2, 2, 1, True, False) if name.startswith("avg") else (2,)
    compared = []
    for functions in (ours, F):

        def call(x, functions=functions):
            return getattr(functions, name)(x, *args)

        def loss(x, call=call):
            return (call(x) ** 3).sum()

        func, stacked = torch.func, torch.stack([x, -x, x + 1])
        compared.append(
            [
                func.grad(loss)(x),
                func.jvp(call, (x,), (x + 1,))[1],
                func.vmap(call)(stacked),
                func.vmap(func.grad(loss), in_dims=1)(stacked.movedim(0, 1)),
                func.jacrev(call)(x[:1, :1]),
                func.jacfwd(call)(x[:1, :1]),
                func.hessian(loss)(x[:1, :1]),
            ]
        )
    for found, theirs in zip(*compared, strict=True):
        torch.testing.assert_close(found, theirs, rtol=1e-12, atol=1e-12)


def net():
    return nn.Sequential(
        cnnkern.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        cnnkern.WeightedAvgPool2d(2, 1, padding=1, ceil_mode=True),
        cnnkern.LPPool2d(2, 2, 1),
        cnnkern.AdaptiveAvgPool2d((None, 3)),
        cnnkern.SpatialPyramidPool((1, 2)),
    )


@pytest.mark.parametrize("last", [False, True])
def test_compile(last):
    """One graph for all sizes, forward and backward."""
    torch._dynamo.reset()
    model, eager = net(), net()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 12, 10), (3, 3, 17, 14)):
        x = torch.randn(shape).abs()
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        found, wanted = compiled(a), eager(b)
        testing.assert_equal(found, wanted)
        found.square().sum().backward(), wanted.square().sum().backward()
        testing.assert_equal(a.grad, b.grad)
    torch._dynamo.reset()


def test_export():
    model = net().eval()
    sizes = {0: torch.export.Dim("n", max=64), 2: torch.export.Dim("h", min=8, max=64)}
    x = torch.rand(2, 3, 12, 10)
    program = torch.export.export(model, (x,), dynamic_shapes=(sizes,))
    targets = {str(node.target) for node in program.graph.nodes}
    assert {
        "cnnkern.avg_pool_forward.default",
        "cnnkern.adaptive_avg_pool_forward.default",
    } < targets
    y = torch.rand(5, 3, 31, 10)
    testing.assert_equal(program.module()(y), model(y))


def operator_samples():
    for last in (False, True):
        x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        window = ([3, 2], [2, 2], [1, 0], [1, 2], True, False, None)
        y = torch.ops.cnnkern.avg_pool_forward(x, *window)
        yield "avg_pool_forward", (x, *window)
        yield "avg_pool_backward", (y, [7, 6], *window)
        yield "adaptive_avg_pool_forward", (x, [3, 4])
        yield "adaptive_avg_pool_backward", (x, [9, 8])
    yield "avg_pool_forward", (torch.randn(2, 3, 9), [3], [2], [1], [1], False, True, 2)


@pytest.mark.parametrize("namespace", ["cnnkern", "cnnkern_emulator"])
@pytest.mark.parametrize("index", range(9))
def test_opcheck(index, namespace):
    if namespace == "cnnkern_emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    name, (tensor, *args) = list(operator_samples())[index]
    operator = getattr(getattr(torch.ops, namespace), name).default
    torch.library.opcheck(operator, (tensor.clone().requires_grad_(), *args))


def test_meta_tensors():
    x = torch.empty(2, 3, 12, 10, device="meta")
    assert net().to("meta")(x).shape == (2, 15)


@pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
@pytest.mark.parametrize("line", ["n2c5h40w41r1s1", "n1c3h1w4100r1s1"])
def test_long_means_on_cuda_are_as_exact_as_torchs(line):
    problem = Problem.parse(f"{line} adaptive_avgpool f32 nchw")
    values = cases.operands(problem, cases.reals)
    x = problem.tensor(values[0])
    case = cases.Case(problem.text, "sm_80", "avg_pool_forward")
    with testing.force_kernel("avg_pool", case.kernel):
        found = problems.run(problem, case.operators(), x)
    truth = cases.expected(problem, [x.double()])
    testing.assert_close_to_float64(found, nn.functional.adaptive_avg_pool2d(x, 1), truth)
