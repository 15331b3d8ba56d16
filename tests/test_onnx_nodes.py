"""ONNX's own node tests through cnnkern.functional, by an adapter for each type of operator."""

import importlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as node_cases

from cnnkern import functional

TYPES = {onnx.TensorProto.FLOAT}


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


def conv(node, x, w, b=None):
    at = Node(node, x.shape[2:], w.shape[2:])
    pads = at.same_pads() if at.auto_pad.startswith("SAME") else at.pads
    group = at.given.get("group", 1)
    return call("conv", x.ndim - 2)(x, w, b, at.strides, pads, at.dilations, group)


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
    pads = at.same_pads() if at.auto_pad.startswith("SAME") else at.pads
    padding = tuple(begin for begin, _ in pads)
    if any(b != e or b > span // 2 for (b, e), span in zip(pads, at.spans)):
        assert at.outputs == 1, "positions would count the padding"
        x = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=-np.inf)
        padding = 0
    y, at_plane = call("max_pool", x.ndim - 2)(
        x, at.kernel, at.strides, padding, at.dilations, bool(at.given.get("ceil_mode", 0)), True
    )
    if at.outputs == 1:
        return y
    order = "F" if at.given.get("storage_order", 0) else "C"
    places = np.ravel_multi_index(np.unravel_index(at_plane, at.size), at.size, order=order)
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(at.size))
    return y, places + planes * np.prod(at.size)


ADAPTERS: dict[str, Callable] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
}


def found_cases():
    """One module an operator; importing it makes its cases (all modules take half a minute)."""
    for op_type in ADAPTERS:
        importlib.import_module(f"{node_cases.__name__}.{op_type.lower()}")
    for case in node_cases._NodeTestCases:
        (node, *more), inputs = case.model.graph.node, case.model.graph.input
        types = {value.type.tensor_type.elem_type for value in inputs}
        if not more and node.op_type in ADAPTERS and types <= TYPES:
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


def test_every_case_is_there():
    """onnx 1.23.2 has 36 of these types in float32; a newer one may add some."""
    assert len(list(found_cases())) >= 35
