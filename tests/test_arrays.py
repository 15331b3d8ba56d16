"""NumPy and CuPy arrays through DLPack: the same memory, and a sentence where that cannot be."""

import pickle
import sys

import cases
import ml_dtypes
import numpy as np
import pytest
import torch

import cnnkern
from cnnkern import functional, testing
from cnnkern.functional import _arrays

RANDOM = np.random.default_rng(0)


def array(*shape, dtype=np.float32):
    return RANDOM.integers(-3, 4, shape).astype(dtype)


def calls():
    """(function, arrays, options): one call of every function that takes arrays."""
    for dims in (1, 2, 3):
        x, w, b = array(2, 4, *[7] * dims), array(4, 4, *[3] * dims), array(4)
        for name in (f"conv{dims}d", f"conv_transpose{dims}d"):
            yield name, (x, w, b), {"stride": 2}
        yield f"max_pool{dims}d", (x,), {"kernel_size": 3}
        yield f"max_pool{dims}d", (x,), {"kernel_size": 2, "return_indices": True}
        yield f"conv{dims}d_bias_act", (x, w, b), {"activation": "relu"}
        for name in ("avg_pool", "max_pool"):
            yield f"adaptive_{name}{dims}d", (x,), {"output_size": 3}
        yield f"avg_pool{dims}d", (x,), {"kernel_size": 3}
        yield f"lp_pool{dims}d", (x,), {"norm_type": 2, "kernel_size": 3}
        yield f"weighted_avg_pool{dims}d", (x, array(*[3] * dims)), {}
        yield f"global_avg_pool{dims}d", (x,), {}
        yield f"global_max_pool{dims}d", (x,), {}
        yield f"global_lp_pool{dims}d", (x,), {"norm_type": 2}
        indices = np.arange(2 * 3**dims, dtype=np.int64).reshape(2, *[3] * dims)[:, None]
        options = {"kernel_size": 2, "output_size": [7] * dims}
        yield f"max_unpool{dims}d", (array(2, 1, *[3] * dims), indices % 3**dims), options
        if dims > 1:
            options = {"kernel_size": 2, "output_size": 3}
            samples = array(2, 4, dims) % 1
            yield f"fractional_max_pool{dims}d", (x,), {**options, "_random_samples": samples}
    yield "spatial_pyramid_pool", (array(2, 4, 7, 7),), {}
    yield "unfold", (array(2, 4, 7, 7),), {"kernel_size": 3}
    yield "fold", (array(2, 4 * 9, 25),), {"output_size": 7, "kernel_size": 3}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name, arrays, options", calls())
def test_results_are_the_tensors_results(name, arrays, options, dtype):

    def cast(value):
        floats = isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
        return value.astype(dtype) if floats else value

    def tensor(value):
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    arrays, options = [cast(a) for a in arrays], {k: cast(v) for k, v in options.items()}
    tensors = {k: tensor(v) for k, v in options.items()}
    wanted = getattr(functional, name)(*map(tensor, arrays), **tensors)
    found = getattr(functional, name)(*arrays, **options)
    for ours, theirs in zip(*([r] if torch.is_tensor(r) or isinstance(r, np.ndarray) else r
                              for r in (found, wanted))):  # fmt: skip
        assert type(ours) is np.ndarray and ours.flags.writeable
        np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.fixture
def operands(monkeypatch):
    """The pointers of the tensors that reach the kernels, of the results last."""
    seen = []
    original = cnnkern._ops.conv_forward

    def conv_forward(ops, *inputs):
        output = original(ops, *inputs)
        seen.extend(t.data_ptr() for t in (*inputs[:3], output) if t is not None)
        return output

    monkeypatch.setattr(cnnkern._ops, "conv_forward", conv_forward)
    return seen


def test_no_copy(operands):
    x, w, b = array(2, 4, 6, 6), array(5, 4, 3, 3), array(5)
    y = functional.conv2d(x, w, b)
    assert operands == [a.ctypes.data for a in (x, w, b, y)]


def test_strides_are_handed_over(operands):
    x = array(2, 7, 9, 4).transpose(0, 3, 1, 2)[:, :, ::2, 1::2]  # neither order, with gaps
    w = array(5, 4, 3, 3)
    y = functional.conv2d(input=x, weight=w, bias=None)
    assert operands == [a.ctypes.data for a in (x, w, y)]
    testing.assert_equal(torch.from_numpy(y), torch.conv2d(torch.tensor(x), torch.tensor(w)))


@pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())
def test_emulator():
    x = array(1, 2, 5, 5)
    with cnnkern.backend("emulator"), testing.launches() as ran:
        found = functional.max_pool2d(x, 2)
    assert list(ran) == ["emulator.max_pool_forward"]
    np.testing.assert_array_equal(found, functional.max_pool2d(x, 2))


class ndarray:
    """What cupy.ndarray shows: DLPack, a package with from_dlpack, flags without writeable."""

    class flags:
        c_contiguous = True

    def __init__(self, tensor):
        self.tensor, self.strides = tensor, tensor.stride()
        self.streams = []

    def __dlpack__(self, **options):
        self.streams.append(options)
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def from_dlpack(tensor):
    return ndarray(torch.from_dlpack(tensor))


def test_a_package_like_cupy():
    x, w = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    y = functional.conv2d(ndarray(x), ndarray(w))
    assert type(y) is ndarray
    testing.assert_equal(y.tensor, functional.conv2d(x, w))


def read_only():
    x = array(1, 1, 4, 4)
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "x, error, sentence",
    [
        (read_only(), ValueError, r"^conv2d: input is a read-only array.*pass input\.copy\(\)$"),
        (array(1, 1, 4, 4)[..., ::-1], ValueError, r"^conv2d: input .*negative strides \(64, 64, "),
        (array(1, 1, 4, 4, dtype=ml_dtypes.bfloat16), TypeError, "input .* dtype bfloat16, which"),
        (array(1, 1, 4, 4, dtype=object), TypeError, "input is an array of dtype object, which"),
        (array(1, 1, 4, 4, dtype=">f4"), TypeError, "input is an array of dtype >f4, which"),
        (array(1, 1, 4, 4, dtype=np.longdouble), TypeError, "input .* dtype (longdouble|float128)"),
        (np.empty((1, 1, 4, 4), "f4,i1")["f0"], TypeError, "input .* dtype float32, which"),
        (np.full((1, 1, 4, 4), "a"), TypeError, "input is an array of dtype <U1, which"),
    ],
    ids=["read-only", "negative", "bfloat16", "object", "order", "longdouble", "odd", "text"],
)
def test_sentences(x, error, sentence):
    with pytest.raises(error, match=sentence):
        functional.conv2d(x, array(1, 1, 3, 3))


def test_the_argument_at_fault_is_named():
    with pytest.raises(ValueError, match=r"^conv2d: weight is a read-only array"):
        functional.conv2d(array(1, 1, 4, 4), read_only())


def test_arrays_and_tensors_do_not_mix():
    x, w = array(1, 1, 4, 4), array(1, 1, 3, 3)
    with pytest.raises(TypeError, match=r"argument 'weight' .* must be Tensor, not ndarray"):
        functional.conv2d(torch.from_numpy(x), w)
    with pytest.raises(TypeError, match=r"argument 'input' .* must be Tensor, not ndarray"):
        functional.conv2d(x, torch.from_numpy(w))
    with pytest.raises(TypeError, match=r"argument 'input' .* must be Tensor, not list"):
        functional.conv2d([1.0], [1.0])


@pytest.mark.parametrize("name", functional.__all__)
def test_every_function_accepts_arrays_and_is_one_object(name):
    function = getattr(functional, name)
    assert function.__closure__ and function.__wrapped__.__name__ == name
    assert getattr(sys.modules[function.__module__], name) is function
    assert pickle.loads(pickle.dumps(function)) is function
    assert name in {call[0] for call in calls()}, "add a call of it to this file"


def test_tensors_never_meet_the_array_path(monkeypatch):
    monkeypatch.setattr(_arrays, "_is_array", None)
    functional.max_pool1d(torch.zeros(1, 1, 4), 2)
