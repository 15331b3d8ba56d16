"""Adaptive and fractional max pooling and unpooling: as PyTorch, and as defined.

PyTorch's samples and error inputs run in test_opinfo.py, every kernel's exact tests in
test_exact.py on tests/problems/window_pool.txt.
"""

import cases
import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import _C, problems, testing
from cnnkern import functional as ours

F = torch.nn.functional
DIMS = (1, 2, 3)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
BACKENDS = [
    "auto",
    pytest.param(
        "emulator",
        marks=pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator()),
    ),
]


def data(dims, dtype=torch.float32, last=False):
    """Few values, so there are ties; NaN and infinities."""
    x = testing.integer_tensor(2, 5, *(9, 8, 7)[:dims], dtype=torch.float64).to(dtype)
    flat = x.view(-1)
    flat[3::29], flat[5::31], flat[7::37] = float("nan"), float("inf"), -float("inf")
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[dims]) if last else x


def call(functions, name, x, *args, seed=0, **kwargs):
    """Outputs and the input's gradient."""
    torch.manual_seed(seed)
    x = x.detach().requires_grad_()
    found = getattr(functions, name)(x, *args, **kwargs)
    found = found if isinstance(found, tuple) else (found,)
    dy = testing.integer_tensor(*found[0].shape, dtype=torch.float64).to(x.dtype)
    return [*(y.detach() for y in found), torch.autograd.grad(found[0], x, dy)[0]]


def same(found, wanted, strides=True):
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.stride() == theirs.stride() or not strides
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


# --------------------------------------------------------------------------------------------------
# As PyTorch, bit for bit: nothing is rounded, and gradients are small integers


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dims, last", [(1, False), (2, False), (2, True), (3, False), (3, True)])
def test_adaptive(dims, last, dtype, backend):
    x, name = data(dims, dtype, last), f"adaptive_max_pool{dims}d"
    sizes = [1, 3, 12] + ([(None, 2, 4)[:dims]] if dims > 1 else [])
    for size in sizes:
        with cnnkern.backend(backend), testing.launches() as ran:
            found = call(ours, name, x, size, return_indices=True)
        prefix = "cpu.window_pool." if backend == "auto" else "emulator.window_max_pool"
        assert sum(count for kernel, count in ran.items() if prefix in kernel) == 2, ran
        wanted = call(F, name, x, size, return_indices=True)
        if dims == 3 and last:  # torch makes these contiguous
            assert found[0].is_contiguous(memory_format=torch.channels_last_3d)
        same(found, wanted, strides=not (dims == 3 and last))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_fractional(dims, dtype, backend):
    """The same seed draws the same windows; given samples do, too, from a tensor with gaps."""
    x, name = data(dims, dtype).nan_to_num(neginf=-9), f"fractional_max_pool{dims}d"
    for seed, kwargs in enumerate(
        (
            dict(kernel_size=2, output_size=4),
            dict(kernel_size=(3, 1, 2)[:dims], output_ratio=(0.5, 0.7, 0.6)[:dims]),
            dict(kernel_size=1, output_size=1),
            dict(kernel_size=2, output_size=(8, 3) if dims == 2 else (7, 3, 5)),
            dict(kernel_size=2, output_size=4, _random_samples="given"),
        )
    ):
        if "_random_samples" in kwargs:
            kwargs["_random_samples"] = torch.rand(3, 5, 2 * dims).to(dtype)[..., ::2] * 0.99
        with cnnkern.backend(backend):
            found = call(ours, name, x, seed=seed, return_indices=True, **kwargs)
        wanted = call(F, name, x, seed=seed, return_indices=True, **kwargs)
        same(found, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sample", [0.0, 0.999999, 1.0, -3.0, 1e30, float("nan"), float("inf")])
def test_any_sample_stays_inside(sample, backend):
    """What torch refuses or reads past the input for: windows are cut to it, gradients follow."""
    x = torch.arange(90.0).reshape(1, 1, 9, 10).requires_grad_()
    samples = torch.full((1, 1, 2), sample)
    with cnnkern.backend(backend):
        y, at = ours.fractional_max_pool2d(x, 2, 4, None, True, samples)
        (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(x.flatten()[at.flatten()], y.flatten()) and y.flatten()[-1] == 89
    assert grad.sum() == 16 and torch.equal(grad.flatten().nonzero().flatten(), at.unique())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dims, last", [(1, False), (2, False), (2, True), (3, False), (3, True)])
def test_unpool(dims, last, backend):
    """Inverts a pooling, its own and with overlapping windows, whose last value stays."""
    x, name = data(dims, last=last), f"max_unpool{dims}d"
    for window in ((2,), (3, 2), (3, 1, 1)):
        p, at = getattr(F, f"max_pool{dims}d")(x, *window, return_indices=True)
        arguments = (p, at, *window)
        with cnnkern.backend(backend):
            found = call(ours, name, *arguments, output_size=x.shape)
        wanted = call(F, name, *arguments, output_size=x.shape)
        same(found, wanted, strides=False)  # torch's 3-d results are contiguous always


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("last", [False, True])
def test_the_last_of_many_values_stays(backend, last):
    """The same for any number of threads; across and within a warp's 32 values."""
    values = torch.arange(2 * 3 * 70.0).reshape(2, 3, 10, 7)
    at = torch.randint(12, values.shape, generator=torch.Generator().manual_seed(0))
    if last:
        values = values.contiguous(memory_format=torch.channels_last)
    with cnnkern.backend(backend):
        found = torch._C._nn.max_unpool2d(values, at, (3, 5))
        with cnnkern.enabled():
            assert torch.equal(torch._C._nn.max_unpool2d(values, at, (3, 5)), found)
    for n in range(2):
        for c in range(3):
            wanted = torch.zeros(15)
            for value, index in zip(values[n, c].flatten(), at[n, c].flatten()):
                wanted[index] = value
            assert torch.equal(found[n, c].flatten(), wanted)


# --------------------------------------------------------------------------------------------------
# Errors


def pooled():
    return F.max_pool2d(torch.randn(1, 2, 4, 4), 2, return_indices=True)


ERRORS = [
    (lambda f: f.adaptive_max_pool2d(torch.zeros(2, 3, 4, 4).int(), 2), "not implemented for"),
    (lambda f: f.adaptive_max_pool2d(torch.zeros(1, 2, 0, 5), 2), "non-zero size for non-batch"),
    (lambda f: f.adaptive_max_pool2d(torch.zeros(1, 2, 3, 4, 5), 2), "Expected 3D or 4D tensor"),
    (lambda f: f.adaptive_max_pool3d(torch.zeros(1, 2, 3, 4, 5), -1), "negative dimension -1"),
    (lambda f: f.fractional_max_pool2d(torch.zeros(1, 2, 5, 5), 2), "either an output_size or an"),
    (lambda f: f.fractional_max_pool2d(torch.zeros(1, 2, 5, 5), 2, 5), "pool height 2 too large"),
    (lambda f: f.fractional_max_pool3d(torch.zeros(1, 2, 5, 5, 5), 6, 1), "pool time 6 too large"),
    (lambda f: f.fractional_max_pool2d(torch.zeros(1, 2, 5, 5), 0, 2), "greater than zero, but"),
    (
        lambda f: f.fractional_max_pool2d(
            torch.zeros(1, 2, 5, 5), 2, 2, _random_samples=torch.rand(1, 2, 3)
        ),
        r"_random_samples.size\(2\) equals to 2; got 3",
    ),
    (
        lambda f: f.fractional_max_pool2d(
            torch.zeros(1, 2, 5, 5), 2, 2, _random_samples=torch.rand(1, 1, 2)
        ),
        r"_random_samples.size\(1\) equals to input channel size",
    ),
    (
        lambda f: f.fractional_max_pool2d(
            torch.zeros(2, 2, 5, 5), 2, 2, _random_samples=torch.rand(1, 2, 2)
        ),
        r"_random_samples.size\(0\) no less then input batch size",
    ),
    (
        lambda f: f.fractional_max_pool2d(
            torch.zeros(1, 2, 5, 5), 2, 2, _random_samples=torch.rand(1, 2, 2).double()
        ),
        "_random_samples to have the same dtype as input",
    ),
    (
        lambda f: f.fractional_max_pool2d(
            torch.zeros(1, 2, 5, 5), 2, 2, _random_samples=torch.rand(1, 2)
        ),
        "_random_samples to have 3 dimensions, got 2",
    ),
    (
        lambda f: f.max_unpool2d(pooled()[0], pooled()[1] * 0 + 100, 2),
        r"Found an invalid max index: 100 \(output volumes are of size 4x4\)",
    ),
    (
        lambda f: f.max_unpool1d(pooled()[0][0], pooled()[1][0] * 0 - 9, 2),
        r"Found an invalid max index: -9 \(output volumes are of size 4x1\)",
    ),
    (lambda f: f.max_unpool2d(*pooled(), 2, output_size=(9, 9)), r"invalid output_size"),
    (lambda f: f.max_unpool2d(*pooled(), 2, output_size=(5,)), "2 or 4 elements"),
    (lambda f: f.max_unpool2d(*pooled(), 2, padding=3), "must contain non-negative spatial dim"),
    (lambda f: f.max_unpool2d(pooled()[0], pooled()[1].int(), 2), "should be type int64"),
    (lambda f: f.max_unpool2d(pooled()[0], pooled()[1][:, :1], 2), "Expected shape of indices"),
    (lambda f: f.max_unpool2d(*(v[0, 0] for v in pooled()), 2), "should be a 3d or 4d Tensor"),
    (lambda f: f.max_unpool2d(*(v[:, :0] for v in pooled()), 2), "non-zero size for non-batch"),
    (lambda f: f.max_unpool2d(pooled()[0].int(), pooled()[1], 2), "not implemented for 'Int'"),
    (lambda f: f.max_unpool3d(*(v[0, :, None] for v in pooled()), 2, 0), "greater than zero"),
]


@pytest.mark.parametrize("index", range(len(ERRORS)))
def test_errors(index):
    """torch's type, and the phrase in both messages."""
    call, message = ERRORS[index]
    with pytest.raises(Exception, match=message) as theirs:
        call(F)
    with pytest.raises(theirs.type, match=message) as found:
        call(ours)
    assert found.type is theirs.type


def test_an_index_outside_is_left_out_by_the_kernel():
    if reason := cases.has_emulator():
        pytest.skip(reason)
    values, at = torch.ones(1, 1, 1, 3), torch.tensor([[[[2, -1, 4]]]])
    with cnnkern.backend("emulator"):
        found = torch.ops.cnnkern_emulator.max_unpool_forward(values, at, [2, 2])
    assert found.flatten().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("n1c1h1w2147483647r1s2 adaptive_maxpool", "add up to 2147483649"),
        ("n1c1h1w1073741824r1s2u1 fractional_maxpool", "an axis has 1073741824"),
        ("n1c1h65536w32768r1s2 max_unpool", "a plane has 2147483648 elements"),
    ],
)
def test_plans_refuse_what_32_bits_cannot_hold(text, reason):
    with pytest.raises(RuntimeError, match=reason):
        _C.plan(text, "sm_80", problems.Problem.parse(text).direction and _kernel(text))
    assert _C.plan(text, "cpu")["kernel"] in ("simd", "planes")


def _kernel(text):
    direction = problems.Problem.parse(text).direction
    return "max_unpool" if direction == "unpool" else f"window_max_pool_{direction}"


# --------------------------------------------------------------------------------------------------
# PyTorch citizenship

LAYERS = [
    *((f"AdaptiveMaxPool{dims}d", (3,), dims) for dims in DIMS),
    *((f"FractionalMaxPool{dims}d", (2, 4), dims) for dims in (2, 3)),
    *((f"MaxUnpool{dims}d", (2,), dims) for dims in DIMS),
]


@pytest.mark.parametrize("name, args, dims", LAYERS)
def test_layers_convert_and_dispatch(name, args, dims):
    """Same constructor and repr as torch's, converted both ways, and no other pooling runs."""
    layer, theirs = getattr(cnnkern, name)(*args), getattr(nn, name)(*args)
    assert repr(layer) == repr(theirs) and isinstance(layer, type(theirs))
    converted = cnnkern.convert(theirs)
    assert type(converted) is type(layer) and type(cnnkern.revert(converted)) is type(theirs)
    x = torch.randn(2, 3, *[8] * dims)
    more = ()
    if "Unpool" in name:
        x, at = getattr(F, f"max_pool{dims}d")(x, 2, return_indices=True)
        more = (at,)
    results = []
    for module in (converted, theirs):
        torch.manual_seed(3)
        a = x.clone().requires_grad_()
        with testing.launches() as ran, torch.profiler.profile() as profile:
            y = module(a, *more)
            torch.autograd.grad(y.square().sum(), a, create_graph=True)[0].sum().backward()
        results.append((y, a.grad))
        if module is converted:
            assert sum(count for kernel, count in ran.items() if "pool" in kernel) >= 3, ran
            keys = [event.key for event in profile.key_averages()]
            assert not [key for key in keys if "aten::" in key and "pool" in key]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("dims", DIMS)
def test_enabled(dims):
    """Every name under which torch has one of these, with indices and without."""
    x, adaptive = torch.randn(2, 3, *[8] * dims), f"adaptive_max_pool{dims}d"
    p, at = getattr(F, f"max_pool{dims}d")(x, 2, return_indices=True)
    binding = torch.adaptive_max_pool1d if dims == 1 else getattr(torch._C._nn, adaptive)
    calls = [
        (getattr(F, adaptive), (x, 3)),
        (getattr(F, adaptive), (x, 3, True)),
        (getattr(F, f"{adaptive}_with_indices"), (x, 3)),
        (binding, (x, (3,) * dims)),
        (getattr(F, f"max_unpool{dims}d"), (p, at, 2)),
    ]
    if dims > 1:
        fractional, samples = f"fractional_max_pool{dims}d", torch.rand(2, 3, dims)
        stride = ((2,) * 3, (0,) * 3) if dims == 3 else ()
        calls += [
            (getattr(F, fractional), (x, 2, 3)),
            (getattr(F, fractional), (x, 2, None, (0.5,) * dims, True)),
            (getattr(F, f"{fractional}_with_indices"), (x, 2, 3)),
            (getattr(torch._C._nn, fractional), (x, (2,) * dims, (3,) * dims, samples)),
            (getattr(torch._C._nn, f"max_unpool{dims}d"), (p, at, (8,) * dims, *stride)),
        ]
    for function, args in calls:
        torch.manual_seed(1)
        wanted = function(*args)
        torch.manual_seed(1)
        with testing.launches() as ran, cnnkern.enabled():
            found = function(*args)
        assert any("window_pool" in kernel for kernel in ran), function
        assert type(found) is type(wanted) or isinstance(found, tuple)
        many = isinstance(found, tuple)
        same(found if many else [found], wanted if many else [wanted])


def functions(dims):
    """With inputs of (2, 3, 5, …)."""
    at = torch.arange(5**dims).reshape(1, 1, *[5] * dims).flip(2).expand(2, 3, *[5] * dims)
    yield f"adaptive_max_pool{dims}d", (3,)
    yield f"max_unpool{dims}d", (at, 1)
    if dims > 1:
        yield f"fractional_max_pool{dims}d", (2, 3, None, False, torch.rand(2, 3, dims).double())


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_autocast(dims, dtype):
    """float32 where torch's autocast computes in float32; whatever torch does, we do."""
    for name, (first, *rest) in functions(dims):
        x = torch.randn(2, 3, *[5] * dims).to(dtype)
        rest = [v.to(dtype) if isinstance(v, torch.Tensor) else v for v in rest]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, wanted = (getattr(f, name)(x, first, *rest) for f in (ours, F))
        assert found.dtype == wanted.dtype and torch.equal(found, wanted), name


@pytest.mark.parametrize("dims", DIMS)
def test_torch_func(dims):
    x = cases.reals((2, 3, *[5] * dims), "x")
    for name, args in functions(dims):
        compared = []
        for module in (ours, F):

            def call(x, module=module, name=name, args=args):
                return getattr(module, name)(x, *args)

            def loss(x, call=call):
                return (call(x) ** 3).sum()

            func, stacked = torch.func, torch.stack([x, -x, x.flip(-1)])
            found = [
                func.grad(loss)(x),
                func.vmap(call)(stacked) if module is ours else torch.stack([*map(call, stacked)]),
                func.jacrev(call)(x)
                if module is ours
                else torch.autograd.functional.jacobian(call, x),
                func.hessian(loss)(x)
                if module is ours
                else torch.autograd.functional.hessian(loss, x),
            ]
            tangent = func.jvp(call, (x,), (x + 1,))[1] if module is ours else None
            if module is F:
                tangent = torch.autograd.functional.jvp(call, x, x + 1)[1]
            compared.append([*found, tangent])
        for mine, theirs in zip(*compared, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


class Net(nn.Module):
    def forward(self, x):
        y, at = ours.adaptive_max_pool2d(x, (None, 6), return_indices=True)
        samples = torch.full((x.shape[0], 3, 2), 0.3)
        z = ours.fractional_max_pool2d(y, 2, (4, 3), _random_samples=samples)
        return z, ours.max_unpool2d(*ours.max_pool2d(x, 2, return_indices=True), 2), at


@pytest.mark.parametrize("last", [False, True])
def test_compile(last):
    """One graph for all sizes, forward and backward."""
    torch._dynamo.reset()
    compiled = torch.compile(Net(), fullgraph=True, dynamic=True, backend="aot_eager")
    for shape in ((2, 3, 12, 10), (3, 3, 16, 14)):
        x = torch.randn(shape)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        gradients = []
        for module in (compiled, Net()):
            a = x.clone().requires_grad_()
            z, u, at = module(a)
            (z.square().sum() + u.square().sum()).backward()
            gradients.append([z, u, at, a.grad])
        same(*gradients)
    torch._dynamo.reset()


def test_export():
    sizes = {0: torch.export.Dim("n", max=64), 2: 2 * torch.export.Dim("h", min=4, max=32)}
    program = torch.export.export(Net(), (torch.rand(2, 3, 12, 10),), dynamic_shapes=(sizes,))
    targets = {str(node.target) for node in program.graph.nodes}
    assert {
        "cnnkern.window_max_pool_forward.default",
        "cnnkern.max_unpool_forward.default",
    } < targets
    y = torch.rand(5, 3, 30, 10)
    same(program.module()(y), Net()(y))


def operator_samples():
    for last in (False, True):
        x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        for samples, kernel in ((None, []), (torch.rand(2, 3, 2).double(), [2, 3])):
            y, at = torch.ops.cnnkern.window_max_pool_forward(x, samples, kernel, [4, 3])
            yield "window_max_pool_forward", (x, samples, kernel, [4, 3])
            yield "window_max_pool_backward", (y, at, samples, [7, 6], kernel)
            yield "window_max_pool_gather", (x, at, samples, kernel)
        _, at = torch.ops.cnnkern.window_max_pool_forward(x, None, [], [2, 2])
        y = x[..., :2, :2].contiguous()
        yield "max_unpool_forward", (y, at, [7, 6])
        yield "max_unpool_backward", (x, at)


@pytest.mark.parametrize("namespace", ["cnnkern", "cnnkern_emulator"])
@pytest.mark.parametrize("index", range(16))
def test_opcheck(index, namespace):
    if namespace == "cnnkern_emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    name, (tensor, *args) = list(operator_samples())[index]
    operator = getattr(getattr(torch.ops, namespace), name).default
    torch.library.opcheck(operator, (tensor.clone().requires_grad_(), *args))


def test_meta_tensors():
    x = torch.empty(2, 3, 12, 10, device="meta")
    y, at = ours.adaptive_max_pool2d(x, (3, None), return_indices=True)
    assert y.shape == at.shape == (2, 3, 3, 10) and at.dtype == torch.int64
    with pytest.raises(RuntimeError, match="negative dimension"):
        ours.adaptive_max_pool2d(x, -1)


@pytest.mark.parametrize("dims", DIMS)
def test_spatial_pyramids_of_maxima(dims):
    """Each entry is the maximum of its bin."""
    layer = cnnkern.SpatialPyramidPool((1, 3), mode="max")
    x = cases.reals((2, 3, 7, 5, 6)[: dims + 2], "x")
    levels = [getattr(F, f"adaptive_max_pool{dims}d")(x, level).flatten(1) for level in (1, 3)]
    assert torch.equal(layer(x), torch.cat(levels, 1))
    assert torch.equal(layer(x)[:, :3], x.flatten(2).amax(2))
