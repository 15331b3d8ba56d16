"""Every problem × direction × dtype × layout × kernel: the cases of the exact and real tests."""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import reference
import torch

from cnnkern import _C, _ops, backends, problems, testing
from cnnkern.problems import Problem

FOLDER = Path(__file__).with_name("problems")
FILES = sorted(FOLDER.glob("*.txt"))
OPTIONS = [f"{d} {layout}" for d in ("f32", "f64", "f16", "bf16") for layout in ("nchw", "nhwc")]
ONCE = ("f64 nchw", "f16 nhwc", "bf16 nchw")
CONV_DIRECTIONS = ("fprop", "dgrad", "wgrad")
POOL_DIRECTIONS = ("maxpool", "values", "maxpool_backward")
OFFSET_DIRECTIONS = ("offsets", "maxpool_backward offsets")
AVG_DIRECTIONS = ("avgpool", "avgpool_backward", "adaptive_avgpool", "adaptive_avgpool_backward")
UNFOLD_DIRECTIONS = ("unfold", "fold")
MMA = ("implicit_gemm_mma", "first_layer")

WINDOW_DIRECTIONS = (
    "adaptive_maxpool", "adaptive_maxpool_backward", "fractional_maxpool",
    "fractional_maxpool_backward", "max_unpool",
)  # fmt: skip


def has_emulator() -> str:
    """Empty, or why the emulator is missing."""
    try:
        backends.emulator()
    except RuntimeError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Case:
    """A problem and the kernel it is to run on; ``device`` is cpu, or the GPU that is emulated."""

    text: str
    device: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.device} {self.kernel}: {self.text}"

    def operators(self):
        if self.device == "cpu":
            return torch.ops.cnnkern
        backends.emulator().set_device(self.device)
        return torch.ops.cnnkern_emulator

    def refusal(self) -> str:
        """Why the kernel does not take the problem, or nothing."""
        try:
            _C.plan(self.text, self.device, self.kernel)
        except RuntimeError as error:
            assert "refuses this problem: " in str(error), error
            return str(error)
        return ""


def kernels(problem: Problem, device: str) -> list[str]:
    """The kernels that the table has for the problem's operation, direction, dtype and layout."""
    layout = "nhwc" if problem.channels_last else "nchw"
    dtype = str(problem.dtype).removeprefix("torch.")
    tf32 = device != "cpu" and problem.operation == "conv" and problem.tf32
    return named(device == "cpu", problem.operation, problem.direction, dtype, layout, tf32)


@functools.cache
def named(cpu: bool, operation: str, direction: str, dtype: str, layout: str, tf32: bool):
    wanted = {
        "backend": ("cpu" if cpu else "cuda",),
        "operation": (operation,),
        "direction": (direction, None),
        "dtype": (dtype, None),
        "layout": (layout, "any", None),
    }
    if not cpu and operation == "conv":
        wanted["tf32"] = (tf32,)
    rows = (r for r in _C.kernels() if all(r.get(k) in v for k, v in wanted.items()))
    return list(dict.fromkeys(row["name"] for row in rows))


def lines() -> list[str]:
    return [line for file in FILES for line in problems.read(file)]


def texts(line: str) -> Iterator[str]:
    """The problem in every direction, dtype and layout that the line leaves open."""
    problem = Problem.parse(line)
    if problem.operation in ("avg_pool", "window_pool"):
        yield from _pool_texts(line, problem)
        return
    if problem.operation == "unfold":  # of planes, in one layout
        for direction in UNFOLD_DIRECTIONS:
            for option in OPTIONS[::2]:
                yield f"{line} {option}".replace(" unfold", f" {direction}")
        return
    directions = (
        POOL_DIRECTIONS if problem.is_pool else ("fprop",) if problem.fused else CONV_DIRECTIONS
    )
    if problem.is_pool and math.prod(problem.kernel) <= _ops.OFFSET_TAPS:
        directions += OFFSET_DIRECTIONS
    words = " ".join((*CONV_DIRECTIONS, *POOL_DIRECTIONS, *OFFSET_DIRECTIONS, *OPTIONS)).split()
    closing = {*words} - {"maxpool"}
    if closing.intersection(line.split()):  # "maxpool" only says that it is a pooling
        yield line
        return
    for direction in directions:
        for option in OPTIONS:
            if len(problem.kernel) > 1 or "nhwc" not in option:  # 1-d tensors have one order only
                yield f"{line} {option} {direction}"


def _pool_texts(line: str, problem: Problem) -> Iterator[str]:
    """The word that says which pooling it is is in the line itself: all directions of it."""
    words = AVG_DIRECTIONS + WINDOW_DIRECTIONS
    word = next(word for word in line.split() if word in words)
    for direction in (found for found in (word, f"{word}_backward") if found in words):
        for option in OPTIONS:
            if len(problem.kernel) > 1 or "nhwc" not in option:
                yield f"{line} {option}".replace(f" {word}", f" {direction}")


def _once_per_dtype(text: str) -> bool:
    """For the plain kernels, whose code is one template: each dtype in one layout, f32 in both."""
    return any(f" {option} " in f" {text} " for option in ONCE) or "f32" in text


def gathered_gemms() -> Iterator[tuple[str, str, str, str]]:
    """(kernel, direction, dtype, layout) of each row of SIMT and F64 in conv_kernels.inc."""
    kernels = (FOLDER.parents[1] / "csrc/cuda/conv/conv_kernels.inc").read_text()
    row = r"^CNNKERN_(SIMT|F64)_(\w+)\((\w+), (\d), (\d+), (\d+), (\d+)\)"
    rows = re.findall(row, kernels, re.M)
    assert {family for family, *_ in rows} == {"SIMT", "F64"}
    for family, direction, layout, vector, m, n, k in rows:
        name = f"implicit_gemm_{family.lower()}_{m}x{n}x{k}"
        name += f"_vec{vector}" if vector != "1" else ""
        yield name, direction.lower(), "f64" if family == "F64" else "f32", layout


def cpu_cases() -> Iterator[Case]:
    """Every kernel that takes the problem."""
    return (case for case in _cpu_cases() if not case.refusal())


def _cpu_cases() -> Iterator[Case]:
    for line in lines():
        for text in texts(line):
            for kernel in kernels(Problem.parse(text), "cpu"):
                if kernel != "reference" or _once_per_dtype(text):
                    yield Case(text, "cpu", kernel)


def moves(problem: Problem) -> bool:
    """Whether tensors go to the tensor cores by a layout pass."""
    if problem.operation != "conv" or problem.dtype == torch.float64:
        return False
    vector = 16 // problem.dtype.itemsize
    channels = [problem.c, *([problem.k] if problem.direction != "fprop" else [])]
    return not problem.channels_last or any(c // problem.groups % vector for c in channels)


def one_tile(problem: Problem, text: str, names: list[str]) -> list[str]:
    """Of the tensor cores' tiles another one for each problem: the pass is the same for all."""
    tiles = [name for name in names if "_mma_" in name]
    chosen = tiles[zlib.crc32(text.encode()) % len(tiles)] if tiles else ""
    return [name for name in names if name not in tiles or name == chosen]


def emulated_cases() -> Iterator[Case]:
    """Every kernel that takes it; ``direct``, whose work no tile shares, on small problems only."""
    return (case for case in _emulated_cases() if not case.refusal())


def _emulated_cases() -> Iterator[Case]:
    for line in lines():
        for text in texts(line):
            problem = Problem.parse(text)
            work = math.prod(problem.output_shape) * math.prod(problem.weight_shape[1:])
            names = kernels(problem, "sm_80")
            for kernel in one_tile(problem, text, names) if moves(problem) else names:
                if kernel == "direct" and (work > 1e5 or not _once_per_dtype(text)):
                    continue
                yield Case(text, "sm_80", kernel)
                on_tensor_cores = problem.dtype == torch.float16 and kernel.startswith(MMA)
                of_floats = problem.dtype == torch.float32 and not problem.tf32
                of_doubles = kernel.startswith("implicit_gemm_f64")
                if on_tensor_cores or of_doubles or (of_floats and kernel != "direct"):
                    yield Case(text, "sm_75", kernel)


def integers(shape: tuple[int, ...], name: str) -> torch.Tensor:
    """Float64 integers from -3 to 3, always the same ones for a name."""
    return testing.integer_tensor(*shape, dtype=torch.float64, seed=zlib.crc32(name.encode()))


def reals(shape: tuple[int, ...], name: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def operands(problem: Problem, make=integers) -> list[torch.Tensor]:
    """The tensors that ``problems.run`` takes, in float64; a bias where the direction takes one."""
    x, w = make(problem.input_shape, "x"), make(problem.weight_shape, "w")
    dy = make(problem.output_shape, "dy")
    if problem.operation == "avg_pool":
        counts = torch.from_numpy(reference.avg_pool_divisors(problem))
        return [x if problem.direction == "forward" else dy * counts]  # so quotients are integers
    if problem.operation == "window_pool":
        samples = [window_samples(problem)] if problem.fractional else []
        at = [] if problem.direction == "forward" else [pool_indices(problem)]
        return [dy if at else x, *at, *samples]
    if problem.operation == "unfold":
        return [x if problem.direction == "unfold" else dy.flatten(2)]
    if problem.is_pool:
        return [x] if problem.direction == "forward" else [dy, pool_indices(problem)]
    bias = {"fprop": [problem.k], "dgrad": [problem.c]}.get(problem.direction)
    first, second = {"fprop": (x, w), "dgrad": (dy, w), "wgrad": (dy, x)}[problem.direction]
    residual = [make(problem.output_shape, "residual")] if problem.residual else []
    return [first, second, *([make(tuple(bias), "bias")] if bias else []), *residual]


def pool_indices(problem: Problem) -> torch.Tensor:
    x = integers(problem.input_shape, "x").numpy()
    if problem.direction == "unpool":  # any; some positions are named twice
        generator = torch.Generator().manual_seed(3)
        return torch.randint(math.prod(problem.input), problem.output_shape, generator=generator)
    if problem.operation == "window_pool":
        samples = window_samples(problem).numpy()
        return torch.from_numpy(reference.window_max_pool(problem, x, samples)[1])
    at = reference.max_pool(problem, x)[1]
    return torch.from_numpy(reference.tap_numbers(problem, at) if problem.offsets else at)


def window_samples(problem: Problem) -> torch.Tensor:
    """Eighths from [0, 1), which every dtype has."""
    generator = torch.Generator().manual_seed(2)
    shape = (problem.n, problem.c, len(problem.input))
    return torch.randint(8, shape, generator=generator).double() / 8


def prepared(problem: Problem, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """In the problem's layout and dtype; indices stay integers, which 16 bits would round."""
    return [
        (problem if v.is_floating_point() else replace(problem, dtype=v.dtype)).tensor(v)
        for v in values
    ]


def expected(problem: Problem, values: list[torch.Tensor]) -> np.ndarray:
    """The float64 reference's result for float64 operands."""
    first, *others = [value.numpy() for value in values]
    if problem.operation == "avg_pool":
        return getattr(reference, f"avg_pool_{problem.direction}")(problem, first)
    if problem.direction == "unpool":
        return reference.max_unpool(problem, first, others[0])
    if problem.operation == "window_pool" and problem.direction == "forward":
        return reference.window_max_pool(problem, first, window_samples(problem).numpy())[0]
    if problem.operation == "unfold":
        return getattr(reference, problem.direction)(problem, first)
    if problem.is_pool:
        if problem.direction == "forward":
            return reference.max_pool(problem, first)[0]
        at = pool_indices(replace(problem, offsets=False)).numpy()
        return reference.max_pool_backward(problem, first, at)
    result = getattr(reference, problem.direction)(problem, first, others[0])
    if len(others) > 1:
        result = result + others[1].reshape(-1, *[1] * (result.ndim - 2))
    if len(others) > 2:
        result = result + others[2]
    return reference.activation(problem, result)


@functools.cache
def exact_reference(text: str) -> np.ndarray:
    problem = Problem.parse(text)
    return expected(problem, operands(problem))


def geometry(case: Case) -> str:
    """The problem without dtype, tf32 and layout: what the exact reference depends on."""
    options = ("f32", "f64", "f16", "bf16", "nchw", "nhwc", "tf32")
    return " ".join(word for word in case.text.split() if word not in options)


def assert_winograd_bound(found: torch.Tensor, wanted: np.ndarray, label: str) -> None:
    """Winograd's own bound: the error against float64 is at most 1e-5 of the result, in norm."""
    truth = torch.as_tensor(wanted, dtype=torch.float64)
    assert found.shape == truth.shape, label
    error = float((found.double() - truth).norm() / truth.norm())
    assert error <= 1e-5, f"{label}: error {error:.2e} of the result"
