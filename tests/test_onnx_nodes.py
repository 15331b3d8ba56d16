"""ONNX's own node tests through cnnkern.functional, by an adapter for each type of operator."""

import importlib
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases
from onnx.reference import ReferenceEvaluator

from cnnkern import functional


class Node:
    """A node's attributes for so many axes: ``pads`` holds one (begin, end) for each."""

    def __init__(self, node, size, kernel):
        self.given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.outputs = len(node.output)
        self.size, dims = tuple(size), len(size)
        self.kernel = tuple(self.given.get("kernel_shape", kernel))
        self.strides = tuple(self.given.get("strides", [1] * dims))
        self.dilations = tuple(self.given.get("dilations", [1] * dims))
        self.spans = [gap * (taps - 1) + 1 for gap, taps in zip(self.dilations, self.kernel)]
        self.auto_pad = self.given.get("auto_pad", b"NOTSET").decode()
        sides = self.given.get("pads", [0] * (2 * dims))
        self.pads = tuple(zip(sides[:dims], sides[dims:]))

    def sides(self):
        """The pads, whether given or asked for by auto_pad."""
        return self.same_pads() if self.auto_pad.startswith("SAME") else self.pads

    def padding(self):
        """The pads as torch's poolings take them, or None if they do not: each is one number an
        axis there, half a window at most."""
        sides = self.sides()
        if any(b != e or b > span // 2 for (b, e), span in zip(sides, self.spans)):
            return None
        return tuple(begin for begin, _ in sides)

    def same_pads(self):
        """auto_pad: as much that the output has ⌈input/stride⌉ elements."""
        totals = [
            max((-(-size // step) - 1) * step + span - size, 0)
            for size, step, span in zip(self.size, self.strides, self.spans)
        ]
        return tuple(self.split(total) for total in totals)

    def split(self, total):
        less, more = total // 2, total - total // 2
        return (less, more) if self.auto_pad == "SAME_UPPER" else (more, less)


def call(name, dims):
    return getattr(functional, f"{name}{dims}d")


def padded(x, sides, value=0.0):
    return np.pad(x, [(0, 0), (0, 0), *sides], constant_values=value)


def conv(node, x, w, b=None):
    at = Node(node, x.shape[2:], w.shape[2:])
    group = at.given.get("group", 1)
    return call("conv", x.ndim - 2)(x, w, b, at.strides, at.sides(), at.dilations, group)


def conv_transpose(node, x, w, b=None):
    """Pads cut the full result; a larger output_shape adds to its end."""
    at = Node(node, x.shape[2:], w.shape[2:])
    extra = at.given.get("output_padding", [0] * len(at.size))
    steps = zip(at.size, at.strides, at.spans, extra)
    full = [(size - 1) * step + span + more for size, step, span, more in steps]
    wanted = at.given.get("output_shape")
    if at.auto_pad.startswith("SAME"):
        wanted = [size * step for size, step in zip(at.size, at.strides)]
    pads = at.pads
    if wanted:
        extra = [more + max(goal - size, 0) for more, goal, size in zip(extra, wanted, full)]
        pads = [at.split(max(size - goal, 0)) for goal, size in zip(wanted, full)]
    group = at.given.get("group", 1)
    y = call("conv_transpose", x.ndim - 2)(
        x, w, b, at.strides, 0, tuple(extra), group, at.dilations
    )
    inside = [slice(begin, size - end) for (begin, end), size in zip(pads, y.shape[2:])]
    return y[(..., *inside)]


def max_pool(node, x):
    """Paddings that torch does not have are -∞ around the input."""
    at = Node(node, x.shape[2:], ())
    padding = at.padding()
    if padding is None:
        assert at.outputs == 1, "positions would count the padding"
        x, padding = padded(x, at.sides(), -np.inf), 0
    y, at_plane = call("max_pool", x.ndim - 2)(
        x, at.kernel, at.strides, padding, at.dilations, bool(at.given.get("ceil_mode", 0)), True
    )
    if at.outputs == 1:
        return y
    order = "F" if at.given.get("storage_order", 0) else "C"
    places = np.ravel_multi_index(np.unravel_index(at_plane, at.size), at.size, order=order)
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(at.size))
    return y, places + planes * np.prod(at.size)


def average_pool(node, x):
    """Paddings that torch does not have are zeros around the input. If they are not to count, the
    mean of ones padded like the input is the part of each window that does."""
    at = Node(node, x.shape[2:], ())
    ceil, include = (bool(at.given.get(key, 0)) for key in ("ceil_mode", "count_include_pad"))

    def pool(x, padding, include):
        return call("avg_pool", x.ndim - 2)(
            x, at.kernel, at.strides, padding, ceil, include, dilation=at.dilations
        )

    if (padding := at.padding()) is not None:
        return pool(x, padding, include)
    mean = pool(padded(x, at.sides()), 0, True)
    return mean if include else mean / pool(padded(np.ones_like(x), at.sides()), 0, True)


def lp_pool(node, x):
    """ONNX's norm is of |x|, torch's of x without padding, so zeros surround the input."""
    at = Node(node, x.shape[2:], ())
    return call("lp_pool", x.ndim - 2)(
        padded(np.abs(x), at.sides()), at.given.get("p", 2), at.kernel, at.strides,
        bool(at.given.get("ceil_mode", 0)), dilation=at.dilations,
    )  # fmt: skip


def global_average_pool(node, x):
    return call("global_avg_pool", x.ndim - 2)(x)


def global_max_pool(node, x):
    return call("global_max_pool", x.ndim - 2)(x)


def global_lp_pool(node, x):
    at = Node(node, x.shape[2:], ())
    return call("global_lp_pool", x.ndim - 2)(np.abs(x), at.given.get("p", 2))


def max_unpool(node, x, places, output_shape=None):
    """Places count through the whole tensor that pooling had; a larger output_shape adds zeros."""
    at = Node(node, x.shape[2:], ())
    steps = zip(at.size, at.strides, at.kernel, at.pads)
    size = [(i - 1) * step + taps - sum(sides) for i, step, taps, sides in steps]
    padding = tuple(begin for begin, _ in at.pads)
    y = call("max_unpool", x.ndim - 2)(
        x, places % np.prod(size), at.kernel, at.strides, padding, size
    )
    wanted = y.shape if output_shape is None else output_shape
    return np.pad(y, [(0, goal - have) for goal, have in zip(wanted, y.shape)])


def col2im(node, columns, image, block):
    """fold is of planes, as torch's; a volume is the transposed convolution of the columns whose
    filters are one-hot: each puts its row of a column on the row's tap."""
    image, block = tuple(map(int, image)), tuple(map(int, block))
    at = Node(node, image, block)
    padding = tuple(begin for begin, _ in at.pads)
    assert at.pads == tuple(zip(padding, padding)), "fold pads both sides alike"
    if len(image) == 2:
        return functional.fold(columns, image, block, at.dilations, padding, at.strides)
    windows = zip(image, padding, at.spans, at.strides)
    counts = [(size + 2 * pad - span) // step + 1 for size, pad, span, step in windows]
    taps = math.prod(block)
    channels = columns.shape[1] // taps
    one_hot = np.tile(np.eye(taps, dtype=columns.dtype), (channels, 1))
    return call("conv_transpose", len(image))(
        columns.reshape(*columns.shape[:2], *counts), one_hot.reshape(-1, 1, *block), None,
        at.strides, padding, 0, channels, at.dilations,
    )  # fmt: skip


ADAPTERS: dict[str, Callable] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "MaxUnpool": max_unpool,
    "Col2Im": col2im,
}


def found_cases():
    """One module an operator; importing it makes its cases (all modules take half a minute)."""
    for op_type in ADAPTERS:
        importlib.import_module(f"{node_cases.__name__}.{op_type.lower()}")
    for case in node_cases._NodeTestCases:
        if any(node.op_type in ADAPTERS for node in case.model.graph.node):
            yield pytest.param(case, id=case.name)


def array(value):
    return np.array(value if isinstance(value, np.ndarray) else numpy_helper.to_array(value))


@pytest.mark.parametrize("onnx_case", found_cases())
def test_node(onnx_case):
    (node,) = onnx_case.model.graph.node
    assert onnx_case.data_sets
    for inputs, outputs in onnx_case.data_sets:
        found = ADAPTERS[node.op_type](node, *map(array, inputs))
        found = found if isinstance(found, tuple) else (found,)
        for ours, wanted in zip(found, map(array, outputs), strict=True):
            assert ours.dtype == wanted.dtype and ours.shape == wanted.shape
            np.testing.assert_allclose(ours, wanted, rtol=onnx_case.rtol, atol=onnx_case.atol)


def test_global_lp_pool():
    """onnx has no case of GlobalLpPool, which its text defines as the LpPool of whole planes."""
    for shape, p in (((2, 3, 7), 1), ((2, 3, 5, 4), 2), ((1, 2, 3, 4, 5), 3)):
        x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        whole = onnx.helper.make_node("LpPool", ["x"], ["y"], kernel_shape=shape[2:], p=p)
        wanted = ReferenceEvaluator(whole).run(None, {"x": x})[0]
        ours = global_lp_pool(onnx.helper.make_node("GlobalLpPool", ["x"], ["y"], p=p), x)
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_every_case_is_there():
    """onnx 1.23.2 has so many; a newer one may add some."""
    wanted = {
        "Conv": 6, "ConvTranspose": 11, "MaxPool": 19, "AveragePool": 20, "LpPool": 8,
        "GlobalAveragePool": 2, "GlobalMaxPool": 2, "MaxUnpool": 2, "Col2Im": 5,
    }  # fmt: skip
    found = Counter(case.model.graph.node[0].op_type for (case,), *_ in found_cases())
    assert found >= Counter(wanted)
