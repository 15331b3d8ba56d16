"""Complex convolution: conjugate and negative views, every kind of derivative, sentences.

PyTorch's samples for complex64, complex128 and complex32 run in test_opinfo.py.
"""

import pytest
import torch
from torch.func import grad, jvp, vmap

import cnnkern
from cnnkern import functional, testing

F = torch.nn.functional
WIDE = torch.complex128


def operands(name: str, dtype: torch.dtype = WIDE) -> tuple[torch.Tensor, ...]:
    dims = int(name[-2])
    transposed = "transpose" in name
    x = torch.randn(2, 4, *[4] * dims, dtype=WIDE)
    w = torch.randn(*((4, 3) if transposed else (6, 2)), *[2] * dims, dtype=WIDE)
    return tuple(tensor.to(dtype) for tensor in (x, w, torch.randn(6, dtype=WIDE)))


NAMES = [f"{kind}{dims}d" for kind in ("conv", "conv_transpose") for dims in (1, 2, 3)]
each = pytest.mark.parametrize("name", NAMES)


def run(module, name: str, x, w, bias=None, **kwargs):
    return getattr(module, name)(x, w, bias, 2, 1, groups=2, **kwargs)


def views(tensor: torch.Tensor):
    """The same values: as they are, behind the conjugate bit, behind the negative bit."""
    yield tensor
    yield tensor.conj().resolve_conj().conj()
    negative = torch.complex(tensor.real.contiguous(), -tensor.imag)
    behind = torch.view_as_complex(torch.view_as_real(negative)).conj()
    assert behind.is_conj()
    yield behind
    yield torch._neg_view(-tensor)


@each
def test_views(name):
    x, w, bias = operands(name)
    wanted = run(F, name, x, w, bias)
    for first in views(x):
        for second in views(w):
            for third in views(bias):
                torch.testing.assert_close(run(functional, name, first, second, third), wanted)


@each
@pytest.mark.parametrize("backend", ["cpu", "emulator"])
def test_gradients_of_views(name, backend):
    """The gradient of a conjugate view, against torch's own."""
    found = []
    with cnnkern.backend(backend):
        for module in (functional, F):
            leaves = [tensor.clone().requires_grad_() for tensor in operands_of(name)]
            x, w, bias = leaves
            output = run(module, name, x.conj(), torch._neg_view(w), bias.conj())
            found.append(torch.autograd.grad((output.abs() ** 2).sum(), leaves))
    torch.testing.assert_close(found[0], found[1])


def operands_of(name: str) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return operands(name)


@each
def test_derivatives(name):
    inputs = [tensor.requires_grad_() for tensor in operands(name)]

    def function(x, w, bias):
        return run(functional, name, x, w, bias)

    arguments = {"fast_mode": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, **arguments)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, **arguments)


@each
def test_transforms(name):
    x, w, bias = operands(name)
    tangents = operands(name)
    ours, theirs = (
        jvp(lambda *t, module=module: run(module, name, *t), (x, w, bias), tangents)
        for module in (functional, F)
    )
    torch.testing.assert_close(ours, theirs)
    xs, ws = torch.stack([x, 2 * x, -1j * x]), torch.stack([w, w.conj(), 3 * w])
    for dims in ((0, 0), (0, None), (None, 0)):
        ours, theirs = (
            vmap(lambda x, w, module=module: run(module, name, x.conj(), w, bias), dims)(
                *(many if dim == 0 else one for many, one, dim in zip((xs, ws), (x, w), dims))
            )
            for module in (functional, F)
        )
        torch.testing.assert_close(ours, theirs)
    ours, theirs = (
        grad(lambda w, module=module: run(module, name, x, w).abs().sum())(w)
        for module in (functional, F)
    )
    torch.testing.assert_close(ours, theirs)


@each
def test_autocast_leaves_complex_tensors_alone(name):
    tensors = operands(name, torch.complex64)
    with torch.autocast("cpu", torch.bfloat16):
        found = run(functional, name, *tensors)
    assert torch.equal(found, run(functional, name, *tensors))


def test_small_integers_are_exact():
    x = torch.complex(
        testing.integer_tensor(2, 3, 6, 6), testing.integer_tensor(2, 3, 6, 6, seed=1)
    )
    w = torch.complex(
        testing.integer_tensor(4, 3, 3, 3), testing.integer_tensor(4, 3, 3, 3, seed=2)
    )
    wanted = F.conv2d(x.to(WIDE), w.to(WIDE))
    for backend in ("cpu", "emulator"):
        with cnnkern.backend(backend):
            for dtype in (torch.complex64, WIDE):
                assert torch.equal(functional.conv2d(x.to(dtype), w.to(dtype)).to(WIDE), wanted)


@pytest.mark.parametrize(
    "x, w, bias, phrase",
    [
        ((2, 3, 6, 6), (4, 4, 3, 3), None, "expected input[2, 3, 6, 6] to have 4 channels"),
        ((2, 4, 6, 6), (4, 4, 3, 3), (3,), "expected bias to be 1-dimensional with 4 elements"),
        ((2, 4, 2, 6), (4, 4, 3, 3), None, "Kernel size can't be greater than actual input size"),
    ],
)
def test_sentences_speak_of_the_tensors_given(x, w, bias, phrase):
    tensors = [None if s is None else torch.zeros(s, dtype=torch.complex64) for s in (x, w, bias)]
    for module in (functional, F):
        with pytest.raises(RuntimeError) as found:
            module.conv2d(*tensors)
        assert phrase in str(found.value)


def test_mixed_types():
    x, w, bias = operands("conv2d")
    for tensors in ((x, w, bias.real), (x, w.real, bias), (x.real, w, bias)):
        for module in (functional, F):
            with pytest.raises(RuntimeError, match="should be the same"):
                run(module, "conv2d", *tensors)


@each
def test_meta_and_compiled(name):
    torch._dynamo.reset()
    tensors = operands(name, torch.complex64)
    meta = run(functional, name, *(tensor.to("meta") for tensor in tensors))
    found = run(functional, name, *tensors)
    assert meta.shape == found.shape and meta.dtype == found.dtype
    compiled = torch.compile(
        lambda *t: run(functional, name, *t), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(*tensors), found)
    torch.testing.assert_close(
        torch.autograd.grad(
            compiled(tensors[0], tensors[1].requires_grad_()).abs().sum(), tensors[1]
        ),
        torch.autograd.grad(run(functional, name, tensors[0], tensors[1]).abs().sum(), tensors[1]),
    )
