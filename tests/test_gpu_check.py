"""`make gpu-check`, every step of it, with the CPU standing in for the GPU."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cnnkern import bench
from cnnkern.bench.nets import WORKLOADS
from cnnkern.bench.run import Disagreement
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


def by_name(name: str) -> torch.nn.Module:
    if name == "broken":
        raise RuntimeError("no such network")
    return small(name)


def one_call(model, images):
    call = torch.no_grad()(lambda: model(images))
    return {"convert": call, "compile": call}


@pytest.fixture
def check(tmp_path):
    return gpu_check.Check(
        tmp_path / "results", "cpu", quick=True, budget=0.01, create=small, nets=("small",)
    )


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
        problems = [Problem.parse(row.problem) for row in rows]
        assert {problem.dtype for problem in problems} == {DTYPES[dtype]}
        assert {problem.tf32 for problem in problems if not problem.is_pool} == {name == "tf32"}
    nets = bench.read_rows(check.out / "gpu_nets.csv")
    assert {row.direction for row in nets} == {"inference", "compiled", "training"}


def test_a_step_that_fails_keeps_none_from_running(check, monkeypatch, capfd):
    def broken(*_, **__):
        raise RuntimeError("no such kernel image")

    monkeypatch.setattr(gpu_check.Check, "call", broken)
    assert gpu_check.run(replace(check, steps=("test", "time_layers"), precisions=["bf16"])) == 1
    printed = capfd.readouterr().out
    assert "no such kernel image" in printed and "time_layers" in printed
    assert (check.out / "gpu_bf16.csv").exists() and not (check.out / "gpu_fp32.csv").exists()


def test_a_problem_that_fails_keeps_none_from_being_timed(check, monkeypatch, capfd):
    right = bench.run

    def run(problems, *arguments, **options):
        if "dgrad" in problems[0]:
            raise Disagreement(f"{problems[0]}: cnnkern and PyTorch differ by 1")
        return right(problems, *arguments, **options)

    monkeypatch.setattr(bench, "run", run)
    assert gpu_check.run(replace(check, steps=["time_layers"], precisions=["fp16", "fp32"])) == 1
    printed = " ".join(capfd.readouterr().out.split())
    assert f"{gpu_check.TINY[0]} dgrad f16: cnnkern and PyTorch differ by 1" in printed
    assert "2 could not be timed, the first:" in printed
    for name in ("fp16", "fp32"):
        rows = bench.read_rows(check.out / f"gpu_{name}.csv")
        assert {row.direction for row in rows} == {"fprop", "wgrad", "forward"}


def test_a_network_that_fails_keeps_none_from_being_timed(check, monkeypatch, capfd):
    broken = replace(check, steps=["time_networks"], nets=("broken", "small"), create=by_name)
    monkeypatch.setitem(WORKLOADS, "inference", one_call)
    monkeypatch.setitem(WORKLOADS, "compiled", one_call)
    assert gpu_check.run(broken) == 1
    printed = " ".join(capfd.readouterr().out.split())
    assert "broken training: no such network" in printed and "2 could not be timed" in printed
    rows = bench.read_rows(check.out / "gpu_nets.csv")
    assert list(dict.fromkeys(row.direction for row in rows)) == [
        "training", "inference", "compiled",
    ]  # fmt: skip
    assert {row.net for row in rows} == {"small"} and len({row.date for row in rows}) == 1


def test_rows_are_kept_as_each_file_is_finished(check, monkeypatch):
    files = [(name, gpu_check.TINY[1:]) for name in ("first", "second")]
    monkeypatch.setattr(gpu_check.Check, "problems", lambda _: files)
    right = bench.run

    def run(problems, net, *arguments, **options):
        if net == "second":
            raise KeyboardInterrupt
        return right(problems, net, *arguments, **options)

    monkeypatch.setattr(bench, "run", run)
    with pytest.raises(KeyboardInterrupt):
        gpu_check.run(replace(check, steps=["time_layers"], precisions=["fp32"]))
    assert {row.net for row in bench.read_rows(check.out / "gpu_fp32.csv")} == {"first"}


def test_batches_are_a_gpus(tmp_path):
    files = dict(gpu_check.Check(tmp_path, "cuda").problems())
    assert files["depthwise"][0] == "depthwise.3x3_112 n64g32c32h112w112k32r3s3p1 fprop"
    assert files["pooling"][0] == "pooling.max3s2_112 n64c64h112w112r3s3u2p1 maxpool"
    quick = dict(gpu_check.Check(tmp_path, "cuda", quick=True).problems())
    assert {name: problems[:6] for name, problems in files.items()} == quick


def test_on_a_gpu_its_tests_run_on_several_processes(tmp_path, monkeypatch):
    pytest.importorskip("xdist")
    commands = []
    monkeypatch.setattr(gpu_check.Check, "call", lambda _, *command: commands.append(command))
    gpu_check.Check(tmp_path, "cuda").test()
    assert commands == [
        (sys.executable, "-m", "pytest", "-q", "-n", "8", "tests/test_cuda.py"),
    ]  # fmt: skip


def test_steps_and_budget_are_chosen(tmp_path, monkeypatch):
    checks = []
    monkeypatch.setattr(gpu_check, "run", lambda check: checks.append(check) or 0)
    line = "gpu_check.py --stand-in --only time_layers --precision tf32 --budget 0.02"
    for arguments in (line.split(), ["gpu_check.py", "--stand-in"]):
        monkeypatch.setattr(sys, "argv", arguments)
        assert gpu_check.main() == 0
    assert checks[0].steps == ["time_layers"] and checks[0].precisions == ["tf32"]
    assert checks[0].budget == 0.02 and checks[1].budget == 0.01
    assert checks[1].steps == gpu_check.STEPS and checks[1].precisions == tuple(
        gpu_check.PRECISIONS
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert gpu_check.main() == 2
    assert "torch sees no GPU" in capsys.readouterr().err
