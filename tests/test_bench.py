"""The benchmark: its method, its records, its picture, and README's agreement with them."""

import io
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import cnnkern
from cnnkern import _C, bench
from cnnkern.bench.record import newest_run
from cnnkern.bench.run import Disagreement
from cnnkern.bench.suite import FILES, suite_problems
from cnnkern.bench.workload import Workload
from cnnkern.problems import Problem

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "net.conv x2 n2c3h9w8k4r3s3p1 fprop",
    "net.conv n2c3h9w8k4r3s3p1u2 f64 dgrad",
    "net.conv n2c3h9w8k4r3s3p1l2 nhwc wgrad",
    "net.pool n2c3h9w8r3s3u2 maxpool",
    "net.pool n2c3h9w8r3s3u2 maxpool_backward",
]


@pytest.fixture(scope="module")
def rows() -> list[bench.Row]:
    return bench.run(SMALL, net="net", budget=1e-4)


def test_rows_say_what_was_measured(rows: list[bench.Row]) -> None:
    assert [row.direction for row in rows] == ["fprop", "dgrad", "wgrad", "forward", "backward"]
    assert [row.layer for row in rows] == ["conv"] * 3 + ["pool"] * 2
    assert rows[0].multiplicity == 2
    for row in rows:
        assert 0 < row.cnnkern_p10_us <= row.cnnkern_us <= row.cnnkern_p90_us
        assert 0 < row.torch_p10_us <= row.torch_us <= row.torch_p90_us
        assert row.ratio == row.torch_us / row.cnnkern_us
        assert row.samples >= 7 and {row.layout, row.torch_layout} <= {"nchw", "nhwc"}
        assert row.kernel in {kernel["name"] for kernel in _C.kernels()}
        assert row.machine and row.torch == torch.__version__ and row.isa == _C.isa()
    flops = 2 * (2 * 4 * 9 * 8) * (3 * 3 * 3)
    assert rows[0].cnnkern_gflops == pytest.approx(flops / rows[0].cnnkern_us / 1e3)
    assert rows[3].cnnkern_gflops == 0


def test_calls_take_turns_and_are_all_warmed_up() -> None:
    log: list[str] = []

    def call(name: str) -> Any:
        return lambda: (log.append(name), time.sleep(2e-3))

    found = bench.measure({"a": call("a"), "b": call("b")}, budget=0, min_samples=7)
    assert found["a"].samples == found["b"].samples == 7
    assert found["a"].median >= 2000
    calls = log[-28:]
    assert calls[::2] == calls[1::2], "a sample is one untimed call and one that is timed"
    sampled = calls[::2]
    assert all({x, y} == {"a", "b"} for x, y in zip(sampled[::2], sampled[1::2], strict=True))
    assert sampled[0] != sampled[2], "the order rotates"
    assert min(log[:-28].count("a"), log[:-28].count("b")) >= 3


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cnnkern.functional.conv2d
    monkeypatch.setattr(cnnkern.functional, "conv2d", lambda *args: right(*args) * 1.001)
    with pytest.raises(Disagreement, match=r"n2c3h9w8k4r3s3p1: .* differ by 1.0e-03"):
        bench.run(SMALL[:1])


@pytest.mark.parametrize("text", SMALL)
def test_every_layout_computes_the_same(text: str) -> None:
    workload = Workload(Problem.parse(text), "cpu")
    results = [workload.call(torch.nn.functional, layout)() for layout in workload.layouts()]
    results.append(workload.call(cnnkern.functional, "nhwc")())
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)


def test_padding_that_torch_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="no padding that differs by side"):
        bench.run(["n1c1h5w5k1r3s3pt1 fprop"])


def test_a_target_is_a_net_a_file_or_a_problem(tmp_path: Path) -> None:
    assert {"alexnet", "lenet5", "resnet50"} <= set(bench.list_nets())
    net, problems = bench.resolve("lenet5")
    assert net == "lenet5" and "lenet5.c3 n64c6h14w14k16r5s5 dgrad" in problems
    file = tmp_path / "mine.txt"
    file.write_text("# a comment\n\na n1c1h5w5k1r3s3  # another\nb n1c1h4w4r2s2u2 maxpool\n")
    name, problems = bench.resolve(str(file))
    assert name == "mine" and [p.split()[-1] for p in problems] == [
        "fprop", "dgrad", "wgrad", "maxpool",
    ]  # fmt: skip
    assert bench.resolve("n1c1h5w5k1r3s3 dgrad") == ("", ["n1c1h5w5k1r3s3 dgrad"])
    with pytest.raises(ValueError, match=r"'frog' is no network .*, no file and no problem"):
        bench.resolve("frog")


def test_resnet50_has_its_53_convolutions() -> None:
    fprops = [Problem.parse(p) for p in bench.resolve("resnet50")[1] if p.endswith("fprop")]
    assert sum(problem.multiplicity for problem in fprops) == 53
    parameters = sum(p.multiplicity * torch.Size(p.weight_shape).numel() for p in fprops)
    assert parameters == 23_454_912  # torchvision's resnet50, convolutions only


def test_rows_survive_a_file_to_which_lines_are_added(
    rows: list[bench.Row], tmp_path: Path
) -> None:
    file = tmp_path / "results" / "net.csv"
    bench.append_rows(file, rows[:2])
    before = file.read_text()
    later = [replace(row, date="2999-01-01T00:00:00+00:00") for row in rows[2:]]
    bench.append_rows(file, later)
    assert file.read_text().startswith(before)
    read = bench.read_rows(file)
    assert len(read) == len(rows)
    assert read[0].problem == rows[0].problem
    assert read[0].ratio == pytest.approx(rows[0].ratio, rel=1e-3)
    assert [row.problem for row in newest_run(read)] == [row.problem for row in later]
    file.write_text("other,columns\n1,2\n")
    with pytest.raises(ValueError, match=r"net.csv: has the columns \['other', 'columns'\]"):
        bench.append_rows(file, rows)


def test_picture_is_drawn(rows: list[bench.Row], tmp_path: Path) -> None:
    picture = bench.draw_ratios([rows, rows[:1]], tmp_path / "new" / "ratios.png", "described")
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG") and b"described" in content


def test_readme_agrees_with_the_recorded_rows() -> None:
    command = [sys.executable, ROOT / "tools" / "update_readme.py", "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------
# The suites


def test_a_row_for_each_memory_format() -> None:
    found = bench.run(SMALL[:1], net="net", budget=1e-4, each_layout=True)
    assert [(row.layout, row.torch_layout) for row in found] == [("nchw", "nchw"), ("nhwc", "nhwc")]
    assert len({row.problem for row in found}) == 1
    first, second = (replace(row, cnnkern_us=1, torch_us=t) for row, t in zip(found, (6, 4)))
    first, second = replace(first, ratio=6, cnnkern_us=2), replace(second, ratio=4)
    assert bench.ratios([first, second], "nchw") == [6]
    assert bench.ratios([first, second], "nhwc") == [4]
    assert bench.ratios([first, second], "best") == [4]
    assert bench.ratios([first], "nhwc") == []


def test_every_problem_of_the_suite_is_in_a_group() -> None:
    counts = {id(group): 0 for group in bench.GROUPS}
    for file in FILES:
        for text in suite_problems(file):
            problem, held = Problem.parse(text), 0
            for group in bench.GROUPS:
                if problem.direction == group.direction and group.holds(file, problem):
                    counts[id(group)] += 1
                    held += 1
            assert held, text
            Workload(Problem.parse(suite_problems(file, quick=True)[0]), "cpu")
    assert min(counts.values()) >= 3, counts
    targets = {(g.name, g.direction, g.against): g.target for g in bench.GROUPS}
    assert len(targets) == len(bench.GROUPS)
    assert targets["max pool", "backward", "nchw"] == 6


def test_quick_problems_are_of_one_image() -> None:
    assert suite_problems("alexnet")[0].endswith(" n16c3h224w224k64r11s11u4p2 fprop")
    assert suite_problems("alexnet", quick=True)[0].endswith(" n1c3h224w224k64r11s11u4p2 fprop")
    assert all("n1g" in text or "n1c" in text for text in suite_problems("depthwise", quick=True))


def test_the_cpu_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n".join(problem.replace("net.", "vgg16.") for problem in SMALL)
    (tmp_path / "vgg16.txt").write_text(text)
    monkeypatch.setattr("cnnkern.bench.problems._FOLDERS", [tmp_path])
    told: list[list[bench.Row]] = []
    rows = bench.run_suite(1e-4, Console(quiet=True), files=["vgg16"], on_rows=told.append)
    assert told == [rows]
    assert len(rows) == 2 * len(SMALL) and len({row.date for row in rows}) == 1
    assert {row.net for row in rows} == {"vgg16"}
    console = Console(width=120, record=True, quiet=False, file=io.StringIO())
    console.print(bench.group_table(rows))
    printed = console.export_text()
    for line in ("dense +fprop +best +1 ", "dense +wgrad +nchw +1 ", "float64 +dgrad +best +1 "):
        assert re.search(line, printed), printed
    assert "depthwise" not in printed


class Tiny(torch.nn.Sequential):
    def __init__(self) -> None:
        conv = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
        tail = (torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5))
        super().__init__(conv, torch.nn.BatchNorm2d(4), torch.nn.ReLU(), *tail)


def test_the_suite_of_networks() -> None:
    console = Console(quiet=True)
    told: list[list[bench.Row]] = []
    rows = bench.run_nets(
        1e-4, console, nets=["tiny"], quick=True, create=lambda _: Tiny(), on_rows=told.append
    )
    assert len(told) == 3 and [row for workload in told for row in workload] == rows
    rivals = {(row.direction, row.torch_layout, row.kernel) for row in rows}
    onnx = {("inference", "onnxruntime", "optimize")} if find_spec("onnxruntime") else set()
    assert rivals - onnx == {
        ("inference", "nchw", "optimize"),
        ("inference", "nhwc", "optimize"),
        ("inference", "compile", "optimize"),
        ("compiled", "compile", "convert"),
        ("training", "nchw", "convert"),
        ("training", "nhwc", "convert"),
    }
    assert onnx <= rivals
    assert all(row.ratio == row.torch_us / row.cnnkern_us for row in rows)
    assert {row.problem for row in rows} == {"1x3x64x64"}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bench.net_table(rows))
    assert "mean, compiled" in console.export_text()


def test_networks_that_disagree_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnnkern, "optimize", lambda model, _: torch.nn.Sequential(model, Twice()))
    monkeypatch.setattr("cnnkern.bench.nets._onnxruntime", lambda model, x: lambda: model(x))
    with pytest.raises(RuntimeError, match=r"tiny: optimize differs from eager PyTorch by 1\.0e"):
        bench.run_nets(
            1e-4, Console(quiet=True), nets=["tiny"], quick=True, create=lambda _: Tiny()
        )


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x
