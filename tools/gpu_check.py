"""Everything that a GPU can tell about the CUDA kernels: `make gpu-check`.

    python tools/gpu_check.py                 build for this GPU, test, sanitize, time against cuDNN
    python tools/gpu_check.py --quick         the same with a few problems of each file
    python tools/gpu_check.py --stand-in      the same steps on the CPU with tiny problems, unbuilt:
                                              what the tests run, so that all this works on the day

Rows go to benchmarks/results/gpu_<precision>.csv and gpu_nets.csv, with pictures beside them. A
step that fails does not keep the others from running; exit status 1: one failed, 2: no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from cnnkern import bench
from cnnkern.bench.nets import BATCHES
from cnnkern.bench.problems import expand
from cnnkern.bench.record import describe_run
from cnnkern.progress import progress_bar

ROOT = Path(__file__).resolve().parent.parent
FILES = ("alexnet", "vgg16", "googlenet", "resnet50", "depthwise", "pooling")
TINY = ("n1c8h6w6k8r3s3p1", "n1c4h6w6r2s2u2 maxpool")
# Name: the problems' dtype, and whether float32 may be rounded to tf32, by PyTorch and by cnnkern.
PRECISIONS = {
    "fp32": ("f32", False),
    "tf32": ("f32", True),
    "fp16": ("f16", False),
    "bf16": ("bf16", False),
}
# For compute-sanitizer, under which a test takes a hundred times as long.
SMALL = "one_image or one_sided or depthwise_vectors or taps_window or mma_taps or channels_9"


@dataclass(frozen=True)
class Check:
    """One run: where rows go, on which device, and how much of everything.

    ``create`` makes the networks; torchvision's if None.
    """

    out: Path
    device: str
    quick: bool = False
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
        self.pytest("" if not self.quick else SMALL)

    def sanitize(self) -> None:
        """The same under compute-sanitizer: bounds, then races in shared memory"""
        tool = shutil.which("compute-sanitizer")
        if tool is None:
            self.console.print("compute-sanitizer is not installed: left out")
            return
        for kind in ("memcheck", "racecheck"):
            self.pytest(SMALL, tool, "--tool", kind, "--error-exitcode", "1")

    def time_layers(self) -> None:
        """Layers against cuDNN, in every precision and both memory formats"""
        for name, (dtype, tf32) in PRECISIONS.items():
            files = self.problems()
            origin, groups = describe_run(self.device), []
            with cudnn_at_its_best(tf32), progress_bar(self.console) as bar:
                task = bar.add_task(name, total=sum(len(problems) for _, problems in files))
                for file, problems in files:
                    found: list[bench.Row] = []
                    for problem in problems:
                        bar.update(task, description=f"{name} {file}")
                        found += bench.run(
                            [f"{problem} {dtype}"], file, self.device, self.budget,
                            each_layout=True, origin=origin,
                        )  # fmt: skip
                        bar.advance(task)
                    groups.append(found)
            path = self.out / f"gpu_{name}.csv"
            bench.append_rows(path, [row for rows in groups for row in rows])
            self.console.print(bench.draw_ratios(groups, path.with_suffix(".png")))

    def time_networks(self) -> None:
        """Whole networks: a training step and inference"""
        rows = bench.run_nets(
            self.budget, self.console, self.nets, self.quick, self.create, self.device
        )
        bench.append_rows(self.out / "gpu_nets.csv", rows)
        self.console.print(bench.net_table(rows))

    @property
    def budget(self) -> float:
        """Seconds of sampling for a call."""
        return 0.01 if self.quick else 0.1

    def problems(self) -> list[tuple[str, list[str]]]:
        """Files and the problems that they consist of."""
        if self.stand_in:
            return [("tiny", [problem for text in TINY for problem in expand(text)])]
        found = [bench.resolve(file) for file in FILES]
        return [(name, problems[:6] if self.quick else problems) for name, problems in found]

    def pytest(self, select: str, *before: str) -> None:
        """The GPU's tests whose names contain one of the words; all if there are none."""
        tests = ["tests/test_cuda.py", *(["-k", select] if select else [])]
        if self.stand_in:
            tests = ["tests/test_flops.py"]
        self.call(*before, sys.executable, "-m", "pytest", "-q", *tests)

    def call(self, *command: str, **environment: str) -> None:
        """Runs a command; raises if it fails."""
        self.console.print(" ".join(command), style="dim", highlight=False)
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment})


def cudnn_at_its_best(tf32: bool) -> contextlib.AbstractContextManager[None]:
    """PyTorch's cuDNN picks its algorithms by timing, with or without tf32."""
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=True, benchmark_limit=None, allow_tf32=tf32, fp32_precision=None
    )


def run(check: Check) -> int:
    """Every step; 1 if one failed."""
    table, failed = Table("step", "result"), False
    for step in (check.build, check.test, check.sanitize, check.time_layers, check.time_networks):
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
    arguments = parser.parse_args()
    if not arguments.stand_in and not torch.cuda.is_available():
        print("gpu_check: torch sees no GPU; --stand-in runs the steps on the CPU", file=sys.stderr)
        return 2
    device = "cpu" if arguments.stand_in else "cuda"
    quick = arguments.quick or arguments.stand_in
    return run(Check(arguments.out, device, quick))


if __name__ == "__main__":
    sys.exit(main())
