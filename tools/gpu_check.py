"""Everything that a GPU can tell about the CUDA kernels: `make gpu-check`.

    python tools/gpu_check.py                 build for this GPU, test, sanitize, time against cuDNN
    python tools/gpu_check.py --quick         the same with a few problems of each file
    python tools/gpu_check.py --only time_layers --precision fp16 --budget 0.01
                                              one step, one precision, 0.01 seconds a call
    python tools/gpu_check.py --stand-in      the same steps on the CPU with tiny problems, unbuilt:
                                              what the tests run, so that all this works on the day

Rows go to benchmarks/results/gpu_<precision>.csv and gpu_nets.csv as each file of problems and
each network is finished; tools/update_readme.py makes README's table and picture of them. What
fails does not keep the rest from running; exit status 1: something failed, 2: no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cnnkern import bench
from cnnkern.bench.nets import BATCHES
from cnnkern.bench.problems import expand
from cnnkern.bench.record import describe_run
from cnnkern.bench.table import geometric_mean
from cnnkern.problems import Problem
from cnnkern.progress import progress_bar

ROOT = Path(__file__).resolve().parent.parent
# Problems' files, and by how much their batches, which are a CPU's, are multiplied.
FILES = {"resnet50": 8, "alexnet": 8, "vgg16": 8, "depthwise": 8, "pooling": 4, "googlenet": 8}
TINY = ("n1c8h6w6k8r3s3p1", "n1c4h6w6r2s2u2 maxpool")
# Name: the problems' dtype, and whether float32 may be rounded to tf32, by PyTorch and by cnnkern.
PRECISIONS = {
    "fp32": ("f32", False),
    "tf32": ("f32", True),
    "fp16": ("f16", False),
    "bf16": ("bf16", False),
}
STEPS = ("build", "test", "sanitize", "time_layers", "time_networks")
# For compute-sanitizer, under which a test takes a hundred times as long.
SMALL = "one_image or one_sided or depthwise_vectors or taps_window or mma_taps or channels_9"


@dataclass(frozen=True)
class Check:
    """One run: where rows go, on which device, and how much of everything.

    ``budget``: seconds of sampling for a call. ``create`` makes the networks;
    torchvision's if None.
    """

    out: Path
    device: str
    quick: bool = False
    budget: float = 0.1
    steps: Sequence[str] = STEPS
    precisions: Sequence[str] = tuple(PRECISIONS)
    create: Callable[[str], torch.nn.Module] | None = None
    nets: Sequence[str] = tuple(BATCHES)
    console: Console = field(default_factory=Console)

    @property
    def stand_in(self) -> bool:
        return self.device == "cpu"

    def build(self) -> None:
        """The library for this GPU alone"""
        if self.stand_in:
            return
        major, minor = torch.cuda.get_device_capability()
        arch = f"{major}{minor}" + ("a" if (major, minor) == (9, 0) else "")
        self.call(sys.executable, "tools/build.py", CNNKERN_CUDA_ARCHS=arch)

    def test(self) -> None:
        """The tests that need a GPU"""
        parallel = ["-n", "8"] if importlib.util.find_spec("xdist") else []
        self.pytest("" if not self.quick else SMALL, *parallel)

    def sanitize(self) -> None:
        """The same under compute-sanitizer: bounds, then races in shared memory"""
        tool = shutil.which("compute-sanitizer")
        if tool is None:
            self.console.print("compute-sanitizer is not installed: left out")
            return
        for kind in ("memcheck", "racecheck"):
            self.pytest(SMALL, before=(tool, "--tool", kind, "--error-exitcode", "1"))

    def time_layers(self) -> None:
        """Layers against cuDNN, in every precision and both memory formats"""
        failed: list[str] = []
        for name in self.precisions:
            files, path = self.problems(), self.out / f"gpu_{name}.csv"
            origin = describe_run(self.device)
            with cudnn_at_its_best(PRECISIONS[name][1]), progress_bar(self.console) as bar:
                task = bar.add_task(name, total=sum(len(problems) for _, problems in files))
                for file, problems in files:
                    found: list[bench.Row] = []
                    for problem in (typed(text, name) for text in problems):
                        bar.update(task, description=f"{name} {file}")
                        with self.noting(problem, failed):
                            found += bench.run(
                                [problem], file, self.device, self.budget,
                                each_layout=True, origin=origin,
                            )  # fmt: skip
                        bar.advance(task)
                    if found:
                        bench.append_rows(path, found)
                        ratios = bench.ratios(found, "best")
                        self.console.print(
                            f"{name} {file}: PyTorch's time by cnnkern's, "
                            f"{geometric_mean(ratios):.2f} in the mean, {min(ratios):.2f} at least"
                        )
        raise_if_any(failed)

    def time_networks(self) -> None:
        """Whole networks: a training step, then inference, whose rivals take minutes to compile"""
        failed: list[str] = []
        origin, rows = describe_run(self.device), []

        def record(found: list[bench.Row]) -> None:
            rows.extend(found)
            bench.append_rows(self.out / "gpu_nets.csv", found)

        for workloads in (["training"], ["inference", "compiled"]):
            for net in self.nets:
                what = f"{net} {' '.join(workloads)}"
                with cudnn_at_its_best(tf32=True), self.noting(what, failed):
                    bench.run_nets(
                        self.budget, self.console, [net], self.quick, self.create, self.device,
                        record, workloads, origin,
                    )  # fmt: skip
        if rows:
            self.console.print(bench.net_table(rows))
        raise_if_any(failed)

    @contextlib.contextmanager
    def noting(self, what: str, failed: list[str]) -> Iterator[None]:
        """Prints an error and notes what had it, so that the next can be timed."""
        try:
            yield
        except RuntimeError as error:
            self.console.print(f"{what}: {error}", style="red", markup=False)
            failed.append(what)

    def problems(self) -> list[tuple[str, list[str]]]:
        """Files and the problems that they consist of."""
        if self.stand_in:
            return [("tiny", [problem for text in TINY for problem in expand(text)])]
        found = [(file, multiplied(file, factor)) for file, factor in FILES.items()]
        return [(name, problems[:6] if self.quick else problems) for name, problems in found]

    def pytest(self, select: str, *options: str, before: Sequence[str] = ()) -> None:
        """The GPU's tests whose names contain one of the words; all if there are none."""
        tests = ["tests/test_cuda.py", *(["-k", select] if select else [])]
        if self.stand_in:
            tests = ["tests/test_flops.py"]
        self.call(*before, sys.executable, "-m", "pytest", "-q", *options, *tests)

    def call(self, *command: str, **environment: str) -> None:
        """Runs a command; raises if it fails."""
        self.console.print(" ".join(command), style="dim", highlight=False)
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment})


def multiplied(file: str, factor: int) -> list[str]:
    """A file's problems, of ``factor`` times as many images."""
    problems = bench.resolve(file)[1]
    return [bench.change_batch(text, lambda images: factor * images) for text in problems]


def typed(problem: str, precision: str) -> str:
    """The problem in one of the precisions; only convolutions may say that they round to tf32."""
    dtype, tf32 = PRECISIONS[precision]
    convolution = Problem.parse(problem).operation == "conv"
    return f"{problem} {dtype}" + (" tf32" if tf32 and convolution else "")


def cudnn_at_its_best(tf32: bool) -> contextlib.AbstractContextManager[None]:
    """PyTorch's cuDNN picks its algorithms by timing, with or without tf32."""
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=True, benchmark_limit=None, allow_tf32=tf32, fp32_precision=None
    )


def raise_if_any(failed: Sequence[str]) -> None:
    if failed:
        raise RuntimeError(f"{len(failed)} could not be timed, the first: {failed[0]}")


def run(check: Check) -> int:
    """The steps; 1 if one failed."""
    table, failed = Table("step", "result"), False
    for step in (getattr(check, name) for name in check.steps):
        check.console.rule(f"{step.__doc__}")
        try:
            step()
        except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
            traceback.print_exc()
            failed = True
            table.add_row(step.__name__, f"[bold red]failed[/]: {error}")
        else:
            table.add_row(step.__name__, "passed")
    check.console.print(table)
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--quick", action="store_true", help="a few problems of each file")
    parser.add_argument("--stand-in", action="store_true", help="on the CPU, tiny problems")
    parser.add_argument("--budget", type=float, help="seconds of sampling for a call")
    parser.add_argument("--only", action="append", choices=STEPS, help="this step; repeatable")
    parser.add_argument(
        "--precision", action="append", choices=PRECISIONS, help="of time_layers; repeatable"
    )
    arguments = parser.parse_args()
    if not arguments.stand_in and not torch.cuda.is_available():
        print("gpu_check: torch sees no GPU; --stand-in runs the steps on the CPU", file=sys.stderr)
        return 2
    device = "cpu" if arguments.stand_in else "cuda"
    quick = arguments.quick or arguments.stand_in
    budget = arguments.budget or (0.01 if quick else 0.1)
    steps, precisions = arguments.only or STEPS, arguments.precision or tuple(PRECISIONS)
    return run(Check(arguments.out, device, quick, budget, steps, precisions))


if __name__ == "__main__":
    sys.exit(main())
