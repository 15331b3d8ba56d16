"""Why a problem runs on the kernel it runs on, and what this build holds."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cnnkern import _C, backends, problems
from cnnkern.version import __version__

if TYPE_CHECKING:
    from cnnkern._profile import Profile

_WRAPS = "(sums wrap around)"
_PRECISION = {
    "float64": "float64",
    "float16": "float16 in and out (exact products, fp32 sums)",
    "bfloat16": "bfloat16 in and out (exact products, fp32 sums)",
    **{name: f"{name} {_WRAPS}" for name in ("uint8", "int8", "int16", "int32", "int64")},
}


def _precision(dtype: str, plan: dict[str, Any]) -> str:
    """With what torch's flags for float32 are set to, and what they led to."""
    if dtype != "float32":
        return _PRECISION[dtype]
    arithmetic = "exact products, fp32 sums"
    if plan["kernel"].startswith("winograd"):
        arithmetic = "transforms and sums in fp32, error below 1e-5 of the result's norm"
    if "3xtf32" in plan["kernel"]:
        arithmetic = "operands as the sum of two tf32, three products for one, fp32 sums"
    if plan.get("tf32"):
        arithmetic = f"operands rounded to tf32, {arithmetic}"
    library = "cudnn" if plan["backend"] == "cuda" else "mkldnn"
    flag = _fp32_precision(library)
    effect = (
        "'tf32' lets convolutions of CUDA tensors round to tf32, as the word tf32 does in a problem"
        if library == "cudnn"
        else "no CPU kernel rounds float32 to tf32 or bf16"
    )
    return (
        f"float32 ({arithmetic}): torch.backends.{library}.conv.fp32_precision is {flag!r}; "
        f"{effect}"
    )


def _fp32_precision(library: str) -> str:
    """Torch's setting for float32 convolutions, of cudnn or mkldnn."""
    return str(getattr(torch.backends, library).conv.fp32_precision)


def _as_on_cuda(problem: str) -> str:
    """With the word tf32 where torch's setting for CUDA tensors lets the kernels round to it."""
    parsed = _C.parse_problem(problem)
    is_float32 = parsed["operation"] == "conv" and parsed["dtype"] == "float32"
    if is_float32 and _fp32_precision("cudnn") == "tf32":
        return f"{problem} tf32"
    return problem


@functools.cache
def build_info() -> dict[str, Any]:
    """What the build recorded: compilers, architectures, each CUDA kernel's resources."""
    path = Path(__file__).with_name("_build_info.json")
    return dict(json.loads(path.read_text())) if path.is_file() else {}


@dataclass(frozen=True)
class Explanation:
    """A plan in the open; None where a figure does not exist for the device or was not recorded.

    ``shared_bytes`` and ``workspace_bytes`` are bytes, ``registers`` and ``spill_bytes`` are per
    thread, ``occupancy`` is resident threads in percent of what a multiprocessor holds.
    """

    problem: str
    device: str
    backend: str
    kernel: str
    precision: str
    why: str
    refusals: list[tuple[str, str]] = field(default_factory=list)
    isa: str | None = None
    tile: tuple[int, int, int] | None = None
    grid: tuple[int, int, int] | None = None
    threads: int | None = None
    shared_bytes: int | None = None
    split_k: int | None = None
    workspace_bytes: int | None = None
    registers: int | None = None
    spill_bytes: int | None = None
    blocks_per_multiprocessor: int | None = None
    occupancy: float | None = None
    profile: Profile | None = None

    def __str__(self) -> str:
        rows = [("problem", self.problem), ("device", self.device), ("kernel", self.kernel)]
        if self.isa:
            rows.append(("instruction set", self.isa))
        if self.tile and any(self.tile):
            rows.append(("tile M x N x K", _by(self.tile)))
        if self.grid:
            rows.append(("grid", f"{_by(self.grid)} blocks of {self.threads} threads"))
            rows.append(("shared memory", f"{self.shared_bytes} bytes a block"))
        if self.split_k and self.split_k > 1:
            rows.append(
                ("split-K", f"{self.split_k} parts, {self.workspace_bytes} bytes workspace")
            )
        if self.grid:
            rows += [("registers", self._registers()), ("occupancy", self._occupancy())]
        rows += [("precision", self.precision), ("why", self.why)]
        rows += [("refused", f"{kernel}: {reason}") for kernel, reason in self.refusals]
        text = "\n".join(f"{name:<16} {value}" for name, value in rows)
        return f"{text}\n\n{self.profile}" if self.profile else text

    def _registers(self) -> str:
        if self.registers is None:
            return "not recorded (this build has no CUDA kernels for the device)"
        return f"{self.registers} a thread, {self.spill_bytes} bytes spilled"

    def _occupancy(self) -> str:
        blocks = f"{self.blocks_per_multiprocessor} blocks a multiprocessor"
        bound = "" if self.registers is not None else " at most (registers not counted)"
        return f"{blocks}, {self.occupancy:.0f} % of its threads{bound}"


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in sizes)


def explain(
    problem: str | torch.nn.Module,
    input: torch.Tensor | None = None,
    device: str = "cpu",
    kernel: str = "",
    direction: str = "fprop",
    profile: bool = False,
) -> Explanation:
    """Which kernel a problem runs on, with which tile and grid, and why others refused it.

    Args:
        problem: a problem string, or a convolution, pooling, unfold or fold layer together with
            ``input``; of a layer on a GPU torch's setting for tf32 is heeded.
        input: the layer's input (a string needs none).
        device: ``"cpu"``, or a GPU such as ``"sm_80"``; it need not be present.
        kernel: asks for this kernel instead of the best one.
        direction: of a layer: ``fprop``, ``dgrad`` or ``wgrad``; a string names its own.
        profile: also counts memory accesses and instructions of the CUDA kernels, by running a
            few of their blocks in the emulator.

    Raises:
        ValueError: the string or the device is not understood, or ``profile`` is asked of the CPU.
        RuntimeError: the kernel that was asked for refuses; the message says why. Or ``profile``
            is asked for and the emulator was not built.

    >>> print(explain("n16c3h32w32k10r5s5p2").kernel)
    direct
    """
    if isinstance(problem, torch.nn.Module):
        if input is None:
            raise TypeError("explain: a layer needs its input: explain(layer, input)")
        problem = problems.of_layer(problem, input, direction)
        problem = problem if device == "cpu" else _as_on_cuda(problem)
    plan = _C.plan(problem, device, kernel)
    if profile and plan["backend"] != "cuda":
        raise ValueError("a profile counts CUDA kernels: give a GPU such as --device sm_80")
    parsed = _C.parse_problem(problem)
    selects = parsed["operation"] == "max_pool" or parsed["direction"] == "unfold"
    dtype = parsed["dtype"]
    figures = resources(plan, device) if plan["backend"] == "cuda" else {}
    shown = {"isa", "tile", "grid", "threads", "shared_bytes", "split_k", "workspace_bytes"}
    return Explanation(
        problem=parsed["text"],
        device=f"{device} ({plan['product']})" if plan.get("product") else device,
        backend=plan["backend"],
        kernel=plan["kernel"],
        precision=f"{dtype}; no arithmetic" if selects else _precision(dtype, plan),
        why=plan["why"],
        refusals=plan["refusals"],
        **{key: value for key, value in plan.items() if key in shown},
        **figures,
        profile=_count(problem, device, kernel) if profile else None,
    )


def _count(problem: str, device: str, kernel: str) -> Profile:
    from cnnkern import _profile  # here: it needs rich, which `import cnnkern` does not

    return _profile.profile(problems.Problem.parse(problem), device, kernel)


def resources(plan: dict[str, Any], device: str) -> dict[str, Any]:
    """Registers from the compiler's records, and the occupancy that they lead to.

    Args:
        plan: a plan for a GPU, or a row of the kernel table.
        device: the GPU, such as ``"sm_80"``.
    """
    number = device.removeprefix("sm_")
    record = next(
        (
            row
            for row in build_info().get("kernels", [])
            if plan["symbol"] in row["demangled"] and row["arch"].rstrip("af") == number
        ),
        None,
    )
    registers = record["registers"] if record else None
    limit = 512 * _C.occupancy(device, 512, 0, 0)  # every GPU's limit is a multiple of 512
    blocks = _C.occupancy(device, plan["threads"], registers or 0, plan["shared_bytes"])
    return {
        "registers": registers,
        "spill_bytes": record["spill_store_bytes"] + record["spill_load_bytes"] if record else None,
        "blocks_per_multiprocessor": blocks,
        "occupancy": 100.0 * blocks * plan["threads"] / limit,
    }


# --------------------------------------------------------------------------------------------------
# info(): the build and the machine


@dataclass(frozen=True)
class Info:
    """Versions and backends; ``remedies`` has one sentence for each backend that is missing."""

    version: str
    torch: str
    compiler: str
    isa: str
    cuda: bool
    nvcc: str | None
    archs: list[str]
    gpu: str | None
    emulator: bool
    emulated_archs: list[str]
    threads: int
    remedies: dict[str, str]

    def __str__(self) -> str:
        archs = " ".join(f"sm_{arch}" for arch in self.archs)
        rows = [
            ("cnnkern", self.version),
            ("torch", self.torch),
            ("compiler", self.compiler),
            ("CPU kernels", f"yes, using {self.isa} on {self.threads} threads"),
            ("CUDA kernels", f"yes, nvcc {self.nvcc}, {archs} + PTX" if self.cuda else "no"),
            ("GPU", self.gpu or "none that torch can use"),
            ("emulator", f"yes, as {' '.join(self.emulated_archs)}" if self.emulator else "no"),
        ]
        rows += [(f"for {name}", sentence) for name, sentence in self.remedies.items()]
        return "\n".join(f"{name:<13} {value}" for name, value in rows)


def info() -> Info:
    """What this build of cnnkern can do here, and one line of help for what it cannot.

    >>> import cnnkern
    >>> info().version == cnnkern.__version__
    True
    """
    records = build_info()
    remedies = {}
    if not backends.cuda_built():
        remedies["CUDA"] = backends.CUDA_MISSING
    elif not torch.cuda.is_available():
        remedies["CUDA"] = (
            "torch sees no GPU: install a CUDA build of torch and NVIDIA's driver, "
            "or use backend('emulator')"
        )
    try:
        backends.emulator()
        emulator = True
    except RuntimeError as error:
        emulator, remedies["the emulator"] = False, str(error)
    return Info(
        version=__version__,
        torch=torch.__version__,
        compiler=records.get("compiler", "unknown"),
        isa=_C.isa(),
        cuda=backends.cuda_built(),
        nvcc=records.get("nvcc"),
        archs=records.get("archs", []),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        emulator=emulator,
        emulated_archs=records.get("emulated_archs", []) if emulator else [],
        threads=torch.get_num_threads(),
        remedies=remedies,
    )
