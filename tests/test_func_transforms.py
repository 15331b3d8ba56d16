"""torch.func: every transform, alone and composed, equals that of torch's own function.

Nothing may go through the batched fallback, which calls a kernel once an element: it is off here,
so that an operator without a rule of its own raises.
"""

import itertools

import cases
import pytest
import small_net
import torch
from test_semantics import SMALL
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from cnnkern import _ops
from cnnkern import functional as ours

F = torch.nn.functional
DIMS = list(itertools.product((None, 0, 1, -1), (None, 0, 1, -1), (None, 0, -1)))[1:]
POOLS = {f"max_pool{dims}d": dims for dims in (1, 2, 3)}


@pytest.fixture(autouse=True)
def _no_fallback():
    assert torch._C._functorch._is_vmap_fallback_enabled()
    torch._C._functorch._set_vmap_fallback_enabled(False)
    yield
    torch._C._functorch._set_vmap_fallback_enabled(True)


def test_the_fallback_is_seen():
    library = torch.library.Library("cnnkern_test", "FRAGMENT")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: 2 * x, "CPU")
    with pytest.raises(RuntimeError, match="fallback"):
        vmap(torch.ops.cnnkern_test.twice)(torch.ones(2, 3))


def same(function, make) -> None:
    """``make(f)`` gives the results to compare; f is ours, then torch's."""
    found, wanted = (make(getattr(module, function)) for module in (ours, F))
    for index, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
        torch.testing.assert_close(
            mine, theirs, rtol=1e-10, atol=1e-10, msg=lambda text, i=index: f"result {i}: {text}"
        )


def conv_tensors(name: str) -> tuple[list[torch.Tensor], dict]:
    x, w, kwargs = SMALL[name]
    out = w[1] * kwargs.get("groups", 1) if "transpose" in name else w[0]
    return [torch.randn(shape, dtype=torch.float64) for shape in (x, w, (out,))], kwargs


def pool_tensor(name: str, *leading: int) -> torch.Tensor:
    """Distinct values: no maximum is tied."""
    shape = (*leading, 1, 2, 5, 4, 3)[: len(leading) + POOLS[name] + 2]
    return torch.randperm(torch.Size(shape).numel()).double().reshape(shape)


def stacked(tensor: torch.Tensor, dim: int | None, size: int = 3) -> torch.Tensor:
    """``size`` different tensors along ``dim``; the tensor itself where it is not mapped."""
    if dim is None:
        return tensor
    return torch.stack([tensor * (i + 1) + i for i in range(size)], dim)


# --------------------------------------------------------------------------------------------------
# Convolutions


@pytest.mark.parametrize("name", SMALL)
def test_derivatives(name):
    tensors, kwargs = conv_tensors(name)
    tangents = tuple(torch.randn_like(t) for t in tensors)
    all_three = (0, 1, 2)

    def make(function):
        def call(x, w, b):
            return function(x, w, b, **kwargs)

        def loss(x, w, b):
            return call(x, w, b).pow(3).sum()

        yield from grad(loss, argnums=all_three)(*tensors)
        yield jvp(call, tuple(tensors), tangents)[1]
        output, pullback = vjp(call, *tensors)
        yield from pullback(torch.ones_like(output))
        yield from jacrev(call, argnums=all_three)(*tensors)
        yield from jacfwd(call, argnums=all_three)(*tensors)
        for row in hessian(loss, argnums=(1, 2))(*tensors):
            yield from row
        # Forward over reverse, reverse over forward, reverse over reverse.
        yield from jvp(grad(loss, argnums=all_three), tuple(tensors), tangents)[1]
        yield from grad(lambda *a: jvp(call, a, tangents)[1].pow(2).sum(), all_three)(*tensors)
        yield grad(lambda *a: grad(loss)(*a).pow(2).sum(), argnums=1)(*tensors)

    same(name, make)


@pytest.mark.parametrize("dims", DIMS, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_vmap_of_every_argument(name, dims):
    tensors, kwargs = conv_tensors(name)
    args = [stacked(t, dim) for t, dim in zip(tensors, dims)]

    def make(function):
        def call(x, w, b):
            return function(x, w, b, **kwargs)

        yield vmap(call, in_dims=dims)(*args)
        if dims[:2] in ((0, None), (None, 1), (0, 0), (None, None)):
            loss = grad(lambda *a: call(*a).pow(2).sum(), argnums=(0, 1, 2))
            yield from vmap(loss, in_dims=dims)(*args)

    same(name, make)


@pytest.mark.parametrize("name", SMALL)
def test_vmap_composed(name):
    tensors, kwargs = conv_tensors(name)
    x, w, b = tensors
    xs, ws, bs = (stacked(t, 0) for t in tensors)
    xss = stacked(xs, 0, 2)

    def make(function):
        def call(x, w, b):
            return function(x, w, b, **kwargs)

        def loss(x, w, b):
            return call(x, w, b).pow(3).sum()

        yield vmap(vmap(call, (0, None, None)), (None, 0, 0))(xs, ws, bs)
        yield vmap(vmap(call, (0, 0, None)), (0, None, None))(xss, ws, b)
        yield vmap(vmap(call, (0, None, None)), (1, None, None), out_dims=1)(xss, w, b)
        yield vmap(call, (0, None, None), chunk_size=2)(xs, w, None)
        yield from vmap(grad(loss, (0, 1, 2)), (0, None, None))(xs, w, b)  # gradients per sample
        yield from vmap(vmap(grad(loss, (0, 1)), (0, None, None)), (None, 0, 0))(xs, ws, bs)
        yield from grad(lambda *a: vmap(loss, (0, 0, None))(*a).sum(), (0, 1, 2))(xs, ws, b)
        yield vmap(lambda t: jvp(lambda x: call(x, w, b), (x,), (t,))[1])(xs)
        yield vmap(lambda v, t: jvp(lambda w: call(x, w, b), (v,), (t,))[1])(ws, ws + 1)
        yield jvp(lambda v: vmap(call, (None, 0, None))(x, v, b), (ws,), (ws - 1,))[1]
        yield vmap(jacrev(call, argnums=2), (0, None, None))(xs, w, b)
        yield vmap(hessian(loss, argnums=2), (None, 0, None))(x, ws, b)

    same(name, make)


def test_what_is_not_mapped_is_not_computed_again():
    """One input under many weights is one convolution with their filters side by side."""
    x, ws, bs = torch.randn(2, 3, 6, 6), torch.randn(5, 4, 3, 3, 3), torch.randn(5, 4)
    sizes = []
    real = torch.ops.cnnkern.conv_forward

    class Shapes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is real.default:
                sizes.append((tuple(args[0].shape), tuple(args[1].shape)))
            return func(*args, **(kwargs or {}))

    with Shapes():
        vmap(ours.conv2d, (None, 0, 0))(x, ws, bs)
        vmap(ours.conv2d, (None, None, 0))(x, ws[0], bs)
    assert sizes == [((2, 3, 6, 6), (20, 3, 3, 3)), ((2, 3, 6, 6), (4, 3, 3, 3))]


def test_vmap_of_an_empty_batch():
    x, w = torch.zeros(3, 0, 4, 6, 6), torch.ones(3, 2, 4, 3, 3)
    assert vmap(ours.conv2d)(x, w).shape == (3, 0, 2, 4, 4)
    assert vmap(ours.conv2d, (0, None))(x, w[0]).shape == (3, 0, 2, 4, 4)


# --------------------------------------------------------------------------------------------------
# Max pooling


@pytest.mark.parametrize("name", POOLS)
def test_max_pool(name):
    x, xs, xss = (pool_tensor(name, *leading) for leading in ((), (3,), (2, 3)))

    def make(function):
        def call(x):
            return function(x, 3, 2, 1, ceil_mode=True)

        def loss(x):
            return call(x).pow(3).sum()

        def indices(x):
            return function(x, 3, 2, 1, return_indices=True)[1]

        yield grad(loss)(x)
        yield jvp(call, (x,), (x.flip(-1),))[1]
        yield jacrev(call)(x)
        yield jacfwd(call)(x)
        yield hessian(loss)(x)
        yield jvp(grad(loss), (x,), (x.flip(-1),))[1]
        yield grad(lambda x: jvp(call, (x,), (x * x,))[1].pow(2).sum())(x)
        for dim in (0, 1, 2, -1):
            mapped = xs.movedim(0, dim)
            yield vmap(call, dim)(mapped)
            yield vmap(indices, dim)(mapped)
            yield vmap(grad(loss), dim)(mapped)
        yield vmap(vmap(call, 1), 1)(xss.permute(1, 0, *range(2, xss.dim())).movedim(1, 2))
        yield vmap(vmap(grad(loss)))(xss)
        yield vmap(lambda x, t: jvp(call, (x,), (t,))[1])(xs, xs.flip(-1))
        yield vmap(lambda t: jvp(call, (x,), (t,))[1])(xs)
        yield vmap(hessian(loss))(xs)

    same(name, make)


# --------------------------------------------------------------------------------------------------
# Every operator's own rule, and a whole model


def operators():
    x, w, b = (torch.randn(s).double() for s in ((2, 4, 7, 6), (6, 2, 3, 2), (6,)))
    window = ([2, 1], [1, 1, 0, 1], [1, 2], 2)
    dy = torch.ops.cnnkern.conv_forward(x, w, b, *window)
    yield "conv_forward", [x, w, b], window
    yield "conv_input_grad", [dy, w, torch.randn(4).double()], ([7, 6], *window)
    yield "conv_weight_grad", [dy, x], ([3, 2], *window)
    yield "conv_bias_grad", [dy], ()
    pool = ([3, 2], [2, 2], [1, 0], [1, 2], True)
    y, at = torch.ops.cnnkern.max_pool_forward(x, *pool)
    yield "max_pool_forward", [x], pool
    yield "max_pool_backward", [y, at], ([7, 6], *pool)
    yield "max_pool_gather", [x, at], pool
    yield "max_pool_values", [x], pool
    yield "max_pool_offsets", [x], pool
    residual = torch.randn_like(dy)
    yield "conv_bias_act", [x, w, b, residual], (*window, "gelu", True, None)
    average = ([3, 2], [2, 2], [1, 0], [1, 1], True, False, None)
    yield "avg_pool_forward", [x], average
    yield "avg_pool_backward", [torch.ops.cnnkern.avg_pool_forward(x, *average)], ([7, 6], *average)
    yield "adaptive_avg_pool_forward", [x], ([3, 2],)
    yield "adaptive_avg_pool_backward", [torch.randn(2, 4, 3, 2).double()], ([7, 6],)
    patches = ([3, 2], [2, 1], [1, 0], [1, 2])
    yield "unfold", [x], patches
    yield "fold", [torch.ops.cnnkern.unfold(x, *patches)], ([7, 6], *patches)
    samples = torch.rand(2, 4, 2).double()
    y, at = torch.ops.cnnkern.window_max_pool_forward(x, samples, [2, 2], [3, 3])
    yield "window_max_pool_forward", [x, samples], ([2, 2], [3, 3])
    yield "window_max_pool_backward", [y, at, samples], ([7, 6], [2, 2])
    yield "window_max_pool_gather", [x, at, samples], ([2, 2],)
    yield "max_unpool_forward", [y, at], ([7, 6],)
    yield "max_unpool_backward", [x, at], ()


def test_every_operator_is_here():
    assert {name for name, *_ in operators()} == {rule.name for rule in _ops.RULES}


@pytest.mark.parametrize("namespace", ["cnnkern", "cnnkern_emulator"])
@pytest.mark.parametrize("index", range(len(_ops.RULES)))
def test_the_operators_own_rule(index, namespace):
    """``vmap`` of torch.ops' operator, mapped along every combination, equals a loop."""
    if namespace == "cnnkern_emulator" and (reason := cases.has_emulator()):
        pytest.skip(reason)
    name, tensors, rest = list(operators())[index]
    operator = getattr(getattr(torch.ops, namespace), name)
    places = (None, 0, 1, -1) if namespace == "cnnkern" else (None, 0)
    choices = [places[: t.dim() + 2] for t in tensors]
    for dims in itertools.product(*choices):
        if all(dim is None for dim in dims):
            continue
        args = [
            t if d is None else torch.stack([t, t.flip(0), t], d) for t, d in zip(tensors, dims)
        ]
        found = vmap(lambda *a: operator(*a, *rest), in_dims=dims)(*args)
        rows = [
            operator(*[a if d is None else a.select(d, i) for a, d in zip(args, dims)], *rest)
            for i in range(3)
        ]
        if isinstance(found, tuple):
            for mine, theirs in zip(found, map(torch.stack, zip(*rows))):
                torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
        else:
            torch.testing.assert_close(found, torch.stack(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("index", range(len(_ops.RULES)))
def test_the_operators_own_rule_nests(index):
    name, tensors, rest = list(operators())[index]
    operator = getattr(torch.ops.cnnkern, name)
    args = [torch.stack([t, t.flip(0)]).expand(3, *[-1] * (t.dim() + 1)) for t in tensors]
    found = vmap(vmap(lambda *a: operator(*a, *rest)))(*args)
    rows = [operator(*[a[0, i] for a in args], *rest) for i in range(2)]
    for mine, theirs in zip(
        *[r if isinstance(found, tuple) else [r] for r in (found, rows[1])], strict=True
    ):
        torch.testing.assert_close(mine[2, 1], theirs, rtol=1e-12, atol=1e-12)


def test_an_ensemble_of_models():
    """functional_call over stacked parameters, and each sample's gradient of a whole model."""
    found = []
    for make in (small_net.ours, small_net.torchs):
        model = make().double().eval()
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        state = {name: value.detach() for name, value in state.items()}
        many = {name: torch.stack([value, value * 2]) for name, value in state.items()}
        torch.manual_seed(2)
        x = small_net.batch().double()

        trained = {name: state[name] for name, _ in model.named_parameters()}

        def loss(trained, x, model=model, state=state):
            return functional_call(model, {**state, **trained}, (x[None],)).pow(2).mean()

        found.append(
            [
                vmap(functional_call, (None, 0, None))(model, many, (x,)),
                vmap(grad(loss), (None, 0))(trained, x),
            ]
        )
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
