"""`make gpu-check`, every step of it, with the CPU standing in for the GPU."""

import sys
from pathlib import Path

import pytest
import torch

from cnnkern import bench
from cnnkern.problems import Problem

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import gpu_check

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SANITIZER = """#!/bin/sh
echo "$@" >> {log}
shift 4
exec "$@"
"""


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 10),
    )  # fmt: skip


@pytest.fixture
def check(tmp_path):
    return gpu_check.Check(tmp_path / "results", "cpu", quick=True, create=small, nets=("small",))


def test_all_steps(check, tmp_path, monkeypatch, capfd):
    tool, log = tmp_path / "bin" / "compute-sanitizer", tmp_path / "log"
    tool.parent.mkdir()
    tool.write_text(SANITIZER.format(log=log))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    before = torch.backends.cudnn.allow_tf32

    assert gpu_check.run(check) == 0, capfd.readouterr().out
    assert torch.backends.cudnn.allow_tf32 == before
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["memcheck", "racecheck"]
    for name, (dtype, _) in gpu_check.PRECISIONS.items():
        rows = bench.read_rows(check.out / f"gpu_{name}.csv")
        assert {row.layout for row in rows} == {"nchw", "nhwc"}
        assert {row.direction for row in rows} == {"fprop", "dgrad", "wgrad", "forward"}
        assert {Problem.parse(row.problem).dtype for row in rows} == {DTYPES[dtype]}
        assert (check.out / f"gpu_{name}.png").stat().st_size > 1000
    nets = bench.read_rows(check.out / "gpu_nets.csv")
    assert {row.direction for row in nets} == {"inference", "compiled", "training"}


def test_a_step_that_fails_keeps_none_from_running(check, monkeypatch, capfd):
    def broken(*_, **__):
        raise RuntimeError("no such kernel image")

    monkeypatch.setattr(gpu_check.Check, "call", lambda *_, **__: None)
    monkeypatch.setattr(bench, "run", broken)
    assert gpu_check.run(check) == 1
    printed = capfd.readouterr().out
    assert "no such kernel image" in printed and "time_networks" in printed
    assert (check.out / "gpu_nets.csv").exists() and not (check.out / "gpu_fp32.csv").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    assert "torch sees no GPU" in capsys.readouterr().err
