"""What users of PyTorch do with layers: copies, traces, parametrizations, autocast, replicas."""

import contextlib
import copy
import io
import pickle
import threading

import pytest
import small_net
import torch
from test_semantics import SMALL
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.utils import parametrizations, parametrize

import cnnkern
from cnnkern import _library, _ops, testing
from cnnkern import functional as ours

F = nn.functional
LAYERS = {
    f"{kind}{dims}d": getattr(cnnkern, f"{kind}{dims}d")(
        *((2,) if kind == "MaxPool" else (4, 6, 3))
    )
    for kind in ("Conv", "ConvTranspose", "MaxPool")
    for dims in (1, 2, 3)
}
WEIGHTED = [name for name in LAYERS if name.startswith("Conv")]


def sample(name: str, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 4, *[6] * int(name[-2]))


def check_ours(call, *args, kernels: int = 1) -> torch.Tensor:
    """The output, after checking that our kernels made it."""
    with testing.launches() as ran:
        output = call(*args)
    assert sum(ran.values()) == kernels, dict(ran)
    return output


# --------------------------------------------------------------------------------------------------
# Copies


def through_torch_save(layer: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": through_torch_save,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", LAYERS)
def test_copies(name, how):
    layer, x = LAYERS[name], sample(name)
    other = COPIES[how](layer)
    assert type(other) is type(layer) and repr(other) == repr(layer)
    testing.assert_equal(check_ours(other, x), layer(x))
    for mine, theirs in zip(other.parameters(), layer.parameters(), strict=True):
        assert mine is not theirs and mine.data_ptr() != theirs.data_ptr()


def test_a_state_dict_goes_both_ways(tmp_path):
    """By file, into torch's own network and back; weights alone are loaded."""
    mine, theirs = small_net.ours().eval(), small_net.torchs().eval()
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.mul_(1.5)
    torch.save(mine.state_dict(), tmp_path / "state.pt")
    theirs.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = small_net.batch()
    torch.testing.assert_close(theirs(x), mine(x), rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------------
# Tracing


@pytest.mark.parametrize("name", LAYERS)
def test_jit_trace(name, tmp_path):
    """The traced layer, also through a file, calls our operator at other batch sizes too."""
    layer, x = LAYERS[name].eval(), sample(name)
    traced = torch.jit.trace(layer, x)
    traced.save(str(tmp_path / "layer.pt"))
    loaded = torch.jit.load(str(tmp_path / "layer.pt"))
    for module in (traced, loaded):
        assert "cnnkern::" in str(module.inlined_graph)
        for each in (x, sample(name, 3)):
            testing.assert_equal(check_ours(module, each), layer(each))


def test_jit_trace_a_model():
    model = small_net.ours().eval()
    traced = torch.jit.trace(model, small_net.batch())
    x = small_net.batch(3).requires_grad_()
    y = check_ours(traced, x, kernels=4)
    testing.assert_equal(y, model(x))
    wanted = torch.autograd.grad(model(x).sum(), x)
    testing.assert_equal(torch.autograd.grad(y.sum(), x)[0], wanted[0])


def test_make_fx():
    """``make_fx`` sees our operators, not what they do inside."""
    model = small_net.ours().eval()
    found = torch.fx.experimental.proxy_tensor.make_fx(model)(small_net.batch())
    targets = {str(node.target) for node in found.graph.nodes}
    assert "cnnkern.conv_forward.default" in targets
    assert not any("aten.convolution" in target for target in targets)


# --------------------------------------------------------------------------------------------------
# Parametrizations


def halved(layer):
    class Half(nn.Module):
        def forward(self, w):
            return w / 2

    return parametrize.register_parametrization(layer, "weight", Half())


NORMS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrize": halved,
    "utils.weight_norm": nn.utils.weight_norm,
    "utils.spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_parametrizations(name, norm):
    """On our layer as on torch's: output and gradients, in float64."""
    compared = []
    for module in (cnnkern, nn):
        torch.manual_seed(5)
        layer = NORMS[norm](getattr(module, name)(4, 6, 3).double())
        x = sample(name).double().requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        compared.append([y, x.grad, *[p.grad for p in layer.parameters()]])
    for found, wanted in zip(*compared, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


# --------------------------------------------------------------------------------------------------
# Meta and fake tensors, autocast


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fake_tensors(device):
    """Shapes, strides and gradients without memory, also for a GPU that is not here."""
    with FakeTensorMode(), torch.device(device):
        model = small_net.ours()
        x = torch.empty(2, 3, 12, 10, device=device, requires_grad=True)
        last = x.to(memory_format=torch.channels_last)
        y = model(last)
        if device == "cpu":  # torch's engine asks the driver about the device
            y.sum().backward()
            assert x.grad.shape == x.shape
            assert all(p.grad.shape == p.shape for p in model.parameters())
    assert y.shape == (2, 2, 10, 8) and y.device.type == device
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", LAYERS)
def test_meta_layers(name):
    layer = copy.deepcopy(LAYERS[name]).to("meta")
    x = sample(name).to("meta").requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.shape == LAYERS[name](sample(name)).shape and x.grad.shape == x.shape


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", SMALL)
def test_autocast_rules(name, device):
    """The rules of both devices: the dtypes that torch gives the same calls, float64 too."""
    x, w, kwargs = SMALL[name]
    dtypes = (torch.bfloat16, torch.float16)
    for dtype in dtypes:
        for given in (torch.float32, *dtypes, torch.float64):
            with FakeTensorMode(), torch.autocast(device, dtype=dtype):
                tensors = [torch.empty(s, dtype=given, device=device) for s in (x, w)]
                y = getattr(ours, name)(*tensors, **kwargs)
                z = getattr(F, name)(*tensors, **kwargs)
                operator = torch.ops.cnnkern.conv_bias_grad(y)
            assert y.dtype == z.dtype == operator.dtype


def test_autocast_pools():
    """torch does not cast poolings."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours.max_pool2d(torch.randn(1, 1, 4, 4), 2).dtype == torch.float32


# --------------------------------------------------------------------------------------------------
# Determinism, replicas, threads, modes


def test_deterministic_algorithms():
    """Nothing is refused and nothing changes: every kernel is deterministic."""
    x, model = small_net.batch(), small_net.ours()
    wanted = model(x)
    torch.use_deterministic_algorithms(True)
    try:
        found = model(x)
        found.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    testing.assert_equal(found, wanted)


def test_data_parallel_without_gpus():
    model = nn.DataParallel(small_net.ours())
    x = small_net.batch()
    testing.assert_equal(check_ours(model, x, kernels=4), model.module(x))


@pytest.mark.parametrize("name", LAYERS)
def test_replicas(name):
    """DataParallel's replica: a shallow copy whose parameters are replaced by plain tensors."""
    layer = LAYERS[name]
    assert set(vars(layer)) == set(vars(getattr(nn, name)(*_arguments(name)))), "no state of ours"
    replica = layer._replicate_for_data_parallel()
    for key, parameter in layer.named_parameters():
        setattr(replica, key, parameter * 2)
    x = sample(name)
    doubled = torch.func.functional_call(
        layer, {key: 2 * value for key, value in layer.named_parameters()}, (x,)
    )
    testing.assert_equal(check_ours(replica, x), doubled)


def _arguments(name: str) -> tuple[int, ...]:
    return (2,) if name.startswith("MaxPool") else (4, 6, 3)


def test_parallel_apply():
    """Replicas run on threads of their own."""
    model = small_net.ours()
    batches = [small_net.batch(n) for n in (1, 2, 3)]
    replicas = [copy.deepcopy(model) for _ in batches]
    outputs: list = [None] * len(batches)

    def run(i):
        outputs[i] = replicas[i](batches[i])
        outputs[i].sum().backward()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for output, x, replica in zip(outputs, batches, replicas):
        testing.assert_equal(output, copy.deepcopy(model)(x))
        assert all(p.grad is not None for p in replica.parameters())


def test_inference_mode_and_checkpoint():
    model, x = small_net.ours(), small_net.batch().requires_grad_()
    with torch.inference_mode():
        assert check_ours(model, x, kernels=4).is_inference()
    convs = model[0]
    wanted = torch.autograd.grad(convs(x).square().sum(), x)[0]
    y = torch.utils.checkpoint.checkpoint(convs, x, use_reentrant=False)
    testing.assert_equal(torch.autograd.grad(y.square().sum(), x)[0], wanted)


def test_saved_tensors_hooks():
    """Saved tensors go through torch's hooks (offloading, checkpointing)."""
    packed = []
    x = small_net.batch().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        y = ours.conv2d(x, torch.randn(2, 3, 3, 3))
    assert len(packed) == 2
    y.sum().backward()


# --------------------------------------------------------------------------------------------------
# Flags of precision


@contextlib.contextmanager
def fp32_precision(library, value):
    before = library.conv.fp32_precision
    library.conv.fp32_precision = value
    yield
    library.conv.fp32_precision = before


cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
FLAGS = {
    **{f"cudnn {v}": lambda v=v: fp32_precision(cudnn, v) for v in ("ieee", "tf32")},
    **{f"mkldnn {v}": lambda v=v: fp32_precision(mkldnn, v) for v in ("ieee", "bf16", "tf32")},
}


@pytest.mark.parametrize("flag", FLAGS)
def test_precision_flags_change_no_result(flag):
    """Neither on the CPU nor in the emulator; they are read and told."""
    library, value = flag.split()
    x, w = torch.randn(2, 8, 9, 9), torch.randn(8, 8, 3, 3)
    wanted = ours.conv2d(x, w)
    device = "sm_80" if library == "cudnn" else "cpu"
    with FLAGS[flag]():
        testing.assert_equal(ours.conv2d(x, w), wanted)
        told = cnnkern.explain("n2c8h9w9k8r3s3", device=device).precision
    assert f"torch.backends.{library}.conv.fp32_precision is {value!r}" in told
    holds_for = "CUDA tensors" if library == "cudnn" else "no CPU kernel rounds"
    assert holds_for in told


@pytest.mark.parametrize("allowed", [False, True])
def test_allow_tf32_changes_no_result(allowed):
    x, w = torch.randn(2, 8, 9, 9), torch.randn(8, 8, 3, 3)
    wanted = ours.conv2d(x, w)
    with torch.backends.cudnn.flags(allow_tf32=allowed):
        testing.assert_equal(ours.conv2d(x, w), wanted)
        told = cnnkern.explain("n2c8h9w9k8r3s3", device="sm_80").precision
    assert f"conv.fp32_precision is {'tf32' if allowed else 'none'!r}" in told


# --------------------------------------------------------------------------------------------------
# What is refused, in one sentence


def refused_tensors():
    x = torch.randn(2, 4, 6, 6)
    yield "sparse_coo", x.to_sparse()
    yield "sparse_csr", x[0, 0].to_sparse_csr()
    yield "mkldnn", x.to_mkldnn()
    yield "nested", torch.nested.nested_tensor([x[0], x[1]])
    yield "nested", torch.nested.nested_tensor([x[0], x[1]], layout=torch.jagged)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("index", range(5))
def test_layouts_without_kernels(index):
    """NotImplementedError, a RuntimeError, as torch raises for layouts without a kernel."""
    kind, tensor = list(refused_tensors())[index]
    x, w = torch.randn(2, 4, 6, 6), torch.randn(4, 4, 3, 3)
    message = f"Could not run with {{}} of layout {kind}: a dense \\(strided\\) tensor is expected"
    for call, name in (
        (lambda: ours.conv2d(tensor, w), "input"),
        (lambda: ours.conv_transpose2d(tensor, w), "input"),
        (lambda: ours.max_pool2d(tensor, 2), "input"),
        (lambda: ours.conv2d(x, tensor), "weight"),
        (lambda: ours.conv2d(x, w, tensor), "bias"),
    ):
        with pytest.raises(NotImplementedError, match=message.format(name)):
            call()


def test_dtensor(tmp_path):
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        from torch.distributed.tensor import Replicate, distribute_tensor, init_device_mesh

        mesh = init_device_mesh("cpu", (1,))
        x = distribute_tensor(torch.randn(1, 4, 6, 6), mesh, [Replicate()])
        for call in (
            lambda: ours.conv2d(x, torch.randn(4, 4, 3, 3)),
            lambda: ours.max_pool2d(x, 2),
        ):
            with pytest.raises(NotImplementedError, match=r"layout DTensor.*use \.to_local\(\)"):
                call()
        assert ours.max_pool2d(x.to_local(), 2).shape == (1, 4, 3, 3)
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("key", ["MPS", "XPU"])
@pytest.mark.parametrize("rule", _ops.RULES, ids=lambda rule: rule.name)
def test_devices_without_kernels(rule, key):
    """No such device is here: the dispatcher's entry for it is called with other arguments."""
    operator = getattr(torch.ops.cnnkern, rule.name).default
    values = {"Tensor": torch.ones(1), "int": 1, "bool": False, "float": 1.0, "List[int]": [1]}
    arguments = [values.get(str(argument.type)) for argument in operator._schema.arguments]
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    with pytest.raises(NotImplementedError, match=f"{rule.name}.*from the '{key}' backend.*use"):
        operator.redispatch(keys, *arguments)


def test_cuda_without_kernels():
    """A build without CUDA registers the sentence; here for operators of the test's own."""
    library = torch.library.Library("cnnkern_no_cuda", "FRAGMENT")
    library.define("conv_bias_grad(Tensor grad_output) -> Tensor")
    rules = [rule for rule in _ops.RULES if rule.name == "conv_bias_grad"]
    _library.register("cnnkern_no_cuda", rules, cuda=False)
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    with pytest.raises(RuntimeError, match="built without CUDA kernels; get nvcc"):
        torch.ops.cnnkern_no_cuda.conv_bias_grad.default.redispatch(keys, torch.ones(1))
