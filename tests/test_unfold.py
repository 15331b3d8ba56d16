"""Unfold and fold: every dtype and parameter against torch's, derivatives, sentences."""

import pytest
import torch
from torch.func import jacfwd, jacrev, vmap

import cnnkern
from cnnkern import functional, testing
from cnnkern.functional._arguments import COMPLEX, FLOATS, INTEGERS

F = torch.nn.functional
WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)},
    {"kernel_size": 3, "stride": 3},
    {"kernel_size": (1, 4), "padding": (0, 3), "stride": (3, 2)},
    {"kernel_size": 1, "padding": 3, "stride": 5},
    {"kernel_size": (7, 6)},
]
SIZE = (7, 6)
BACKENDS = ("cpu", "emulator")
windows = pytest.mark.parametrize("window", WINDOWS, ids=str)
backends = pytest.mark.parametrize("backend", BACKENDS)


def values(shape, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """Small integers, so that sums are exact in any order, in any dtype."""
    real = testing.integer_tensor(*shape, dtype=torch.float64, seed=seed)
    if dtype.is_complex:
        imaginary = testing.integer_tensor(*shape, dtype=torch.float64, seed=seed + 1)
        return torch.complex(real, imaginary).to(dtype)
    return real.abs().to(dtype) if dtype == torch.uint8 else real.to(dtype)


def dtypes(*more: torch.dtype):
    return pytest.mark.parametrize("dtype", (*FLOATS, *COMPLEX, *INTEGERS, *more), ids=str)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """In a dtype that torch's unfold and fold take, with room for every value."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.equal(wide(found), wide(wanted))


@windows
@backends
@dtypes(torch.bool)
def test_unfold(dtype, window, backend):
    x = values((2, 3, *SIZE), dtype)
    with cnnkern.backend(backend):
        found = functional.unfold(x, **window)
        assert same(functional.unfold(x[0], **window), found[0])
    wanted = F.unfold(wide(x), **window)
    assert found.dtype == dtype and same(found, wanted)
    assert found.stride() == wanted.stride()


@windows
@backends
@dtypes()
def test_fold(dtype, window, backend):
    shape = F.unfold(torch.zeros(2, 3, *SIZE), **window).shape
    columns = values(shape, dtype)
    with cnnkern.backend(backend):
        if backend == "emulator" and dtype in INTEGERS:
            with pytest.raises(RuntimeError, match="is computed on the CPU only"):
                functional.fold(columns, SIZE, **window)
            return
        found = functional.fold(columns, SIZE, **window)
        assert same(functional.fold(columns[0], SIZE, **window), found[0])
    wanted = F.fold(wide(columns), SIZE, **window)
    assert found.dtype == dtype and same(found, wanted.to(dtype))
    assert found.stride() == wanted.stride()


@backends
def test_fold_of_bools(backend):
    columns = torch.rand(2, 27, 30) > 0.9
    with cnnkern.backend(backend):
        assert torch.equal(functional.fold(columns, (7, 8), 3), F.fold(columns, (7, 8), 3))


@backends
@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex64], ids=str)
def test_fold_of_reals(dtype, backend):
    columns = torch.randn(2, 27, 30, dtype=wide(torch.zeros(1, dtype=dtype)).dtype).to(dtype)
    with cnnkern.backend(backend):
        found = functional.fold(columns, (7, 8), 3)
    baseline = F.fold(columns, (7, 8), 3)
    testing.assert_close_to_float64(found, baseline, F.fold(wide(columns), (7, 8), 3))


@windows
def test_devices_agree_to_the_bit(window):
    columns = torch.randn_like(F.unfold(torch.zeros(2, 3, *SIZE), **window))
    results = []
    for backend in BACKENDS:
        with cnnkern.backend(backend):
            results.append(functional.fold(columns, SIZE, **window))
    assert torch.equal(*results)


@backends
def test_memory(backend):
    """Inputs at odd offsets with gaps between elements, NaN around; channels last; conjugates."""
    x = values((2, 3, *SIZE), torch.float32)
    columns = values((2, 12, 30), torch.float32)
    with cnnkern.backend(backend):
        for gap in (1, 2):
            found = functional.unfold(testing.guarded_copy(x, gap=gap), 2)
            assert torch.equal(found, F.unfold(x, 2))
            found = functional.fold(testing.guarded_copy(columns, gap=gap), SIZE, 2)
            assert torch.equal(found, F.fold(columns, SIZE, 2))
        last = x.contiguous(memory_format=torch.channels_last)
        assert torch.equal(functional.unfold(last, 2), F.unfold(x, 2))
        z, c = values((2, 3, *SIZE), torch.complex64), values((2, 12, 30), torch.complex64)
        assert torch.equal(functional.unfold(z.conj(), 2), F.unfold(z.conj(), 2))
        assert torch.equal(
            functional.fold(torch._neg_view(c.conj()), SIZE, 2), F.fold(-c.conj(), SIZE, 2)
        )


@pytest.mark.parametrize("batch", [0, 1])
def test_empty_batch(batch):
    x = torch.zeros(batch, 3, *SIZE)
    assert functional.unfold(x, 2).shape == (batch, 12, 30)
    assert functional.fold(functional.unfold(x, 2), SIZE, 2).shape == x.shape


def test_threads_do_not_matter():
    columns = torch.randn(3, 45, 26 * 28)
    results = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        results.append(functional.fold(columns, (28, 30), 3))
        torch.set_num_threads(before)
    assert torch.equal(*results)


# --------------------------------------------------------------------------------------------------
# Derivatives and transforms


@windows
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_derivatives(window, dtype):
    x = torch.randn(2, 2, *SIZE, dtype=dtype, requires_grad=True)
    columns = torch.randn_like(functional.unfold(x, **window)).detach().requires_grad_()
    checks = {"fast_mode": True, "check_batched_grad": True}
    for call, leaf in (
        (lambda t: functional.unfold(t, **window), x),
        (lambda t: functional.fold(t, SIZE, **window), columns),
    ):
        assert torch.autograd.gradcheck(call, (leaf,), check_forward_ad=True, **checks)
        assert torch.autograd.gradgradcheck(call, (leaf,), check_fwd_over_rev=True, **checks)


@windows
@backends
def test_each_is_the_others_gradient(window, backend):
    x = values((2, 3, *SIZE), torch.float32).requires_grad_()
    with cnnkern.backend(backend):
        y = functional.unfold(x, **window)
        dy = values(y.shape, torch.float32, seed=3)
        (dx,) = torch.autograd.grad(y, x, dy)
        assert torch.equal(dx, F.fold(dy, SIZE, **window))
        leaf = dy.clone().requires_grad_()
        (back,) = torch.autograd.grad(functional.fold(leaf, SIZE, **window), leaf, x.detach())
        assert torch.equal(back, F.unfold(x.detach(), **window))


def test_transforms():
    x = torch.randn(3, 2, 2, *SIZE)
    columns = torch.randn(3, 2, 8, 30)
    assert torch.equal(
        vmap(lambda t: functional.unfold(t, 2), 1)(x), vmap(lambda t: F.unfold(t, 2), 1)(x)
    )
    torch.testing.assert_close(
        vmap(lambda t: functional.fold(t, SIZE, 2))(columns),
        vmap(lambda t: F.fold(t, SIZE, 2))(columns),
    )
    small = torch.randn(1, 1, 3, 3)
    for jacobian in (jacrev, jacfwd):
        torch.testing.assert_close(
            jacobian(lambda t: functional.unfold(t, 2).square())(small),
            jacobian(lambda t: F.unfold(t, 2).square())(small),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bool], ids=str)
def test_opcheck(dtype):
    differentiable = dtype != torch.bool
    x = values((2, 3, *SIZE), dtype).requires_grad_(differentiable)
    p = [3, 2], [2, 1], [2, 1], [1, 2]
    torch.library.opcheck(torch.ops.cnnkern.unfold.default, (x, *p))
    if differentiable:
        columns = functional.unfold(x, (3, 2), (1, 2), (2, 1), (2, 1)).detach().requires_grad_()
        torch.library.opcheck(torch.ops.cnnkern.fold.default, (columns, SIZE, *p))


def test_compiled_and_exported():
    class Model(torch.nn.Module):
        def forward(self, x):
            return functional.fold(2 * functional.unfold(x, 2, stride=2), x.shape[2:], 2, stride=2)

    x = torch.randn(2, 3, 8, 6)
    compiled = torch.compile(Model(), fullgraph=True, dynamic=True, backend="aot_eager")
    for size in ((2, 3, 8, 6), (3, 1, 4, 10)):
        leaf = torch.randn(size, requires_grad=True)
        output = compiled(leaf)
        testing.assert_equal(output, 2 * leaf)
        output.sum().backward()
        assert torch.equal(leaf.grad, torch.full(size, 2.0))
    exported = torch.export.export(Model(), (x,)).module()
    testing.assert_equal(exported(x), 2 * x)


# --------------------------------------------------------------------------------------------------
# Layers, enabled(), sentences


@windows
def test_layers(window):
    x = torch.randn(2, 3, *SIZE)
    model = torch.nn.Sequential(torch.nn.Unfold(**window), torch.nn.Fold(SIZE, **window))
    ours = cnnkern.convert(model)
    assert [type(layer) for layer in ours] == [cnnkern.Unfold, cnnkern.Fold]
    assert repr(ours) == repr(model)
    with testing.launches() as ran:
        found = ours(x)
    assert ran == {"cpu.im2col": 1, "cpu.col2im": 1}
    torch.testing.assert_close(found, model(x))
    assert type(cnnkern.revert(ours)[1]) is torch.nn.Fold


def test_enabled():
    x, columns = torch.randn(2, 3, *SIZE), torch.randn(2, 12, 30)
    pairs = ([2, 2], [1, 1], [0, 0], [1, 1])
    with cnnkern.enabled(), testing.launches() as ran:
        F.unfold(x, 2)
        torch._C._nn.im2col(x, *pairs)
        F.fold(columns, SIZE, 2)
        torch._C._nn.col2im(columns, SIZE, *pairs)
    assert ran == {"cpu.im2col": 2, "cpu.col2im": 2}


X, COLUMNS = (2, 4, 5, 6), (2, 16, 20)
BAD = [
    ("unfold", X, {"kernel_size": 0}, "kernel size should be greater than zero"),
    ("unfold", X, {"kernel_size": 2, "dilation": 0}, "dilation should be greater than zero"),
    ("unfold", X, {"kernel_size": 2, "padding": -1}, "padding should be non-negative"),
    ("unfold", X, {"kernel_size": 2, "stride": 0}, "stride should be greater than zero"),
    ("unfold", X, {"kernel_size": 7}, "calculated shape of the array of sliding blocks as (-1, 0)"),
    ("unfold", (2, 0, 5, 6), {"kernel_size": 2}, "Expected 3D or 4D (batch mode) tensor with"),
    ("unfold", (0, 5, 6), {"kernel_size": 2}, "Expected 3D or 4D (batch mode) tensor with"),
    ("fold", COLUMNS, {"output_size": (5, 6), "kernel_size": 0}, "kernel size should be greater"),
    ("fold", COLUMNS, {"output_size": (5, 6), "kernel_size": 2, "stride": 0}, "stride should be"),
    ("fold", COLUMNS, {"output_size": (5, 6), "kernel_size": 2, "dilation": 0}, "dilation should"),
    ("fold", COLUMNS, {"output_size": (5, 6), "kernel_size": 2, "padding": -1}, "padding should"),
    ("fold", COLUMNS, {"output_size": (5, 5), "kernel_size": 2}, "number of sliding blocks 4 * 4"),
    ("fold", COLUMNS, {"output_size": (0, 6), "kernel_size": 2}, "number of sliding blocks -1 * 5"),
    ("fold", COLUMNS, {"output_size": (5, 6), "kernel_size": 3}, "divisible by the product of"),
    ("fold", (16,), {"output_size": (5, 6), "kernel_size": 2}, "Expected 2D or 3D (batch mode)"),
    ("fold", (2, 0, 20), {"output_size": (5, 6), "kernel_size": 2}, "Expected 2D or 3D (batch"),
]


@pytest.mark.parametrize("name, shape, arguments, phrase", BAD)
def test_sentences(name, shape, arguments, phrase):
    for module, device in ((functional, "cpu"), (functional, "meta"), (F, "cpu")):
        with pytest.raises(RuntimeError) as found:
            getattr(module, name)(torch.zeros(shape, device=device), **arguments)
        assert phrase in str(found.value)
        assert module is F or str(found.value).startswith(f"{name}: ")


def test_sentences_of_dtypes():
    with pytest.raises(RuntimeError, match="fold: input has dtype bool, whose sums are none"):
        torch.ops.cnnkern.fold(
            torch.zeros(1, 4, 9, dtype=torch.bool), [4, 4], [2] * 2, [1] * 2, [0] * 2, [1] * 2
        )
    with pytest.raises(NotImplementedError, match="unfold: input has dtype uint16, but float32"):
        functional.unfold(torch.zeros(1, 5, 6, dtype=torch.uint16), 2)
    with pytest.raises(
        TypeError, match=r"unfold\(\): argument 'input' \(position 1\) must be Tensor"
    ):
        functional.unfold(None, 2)
