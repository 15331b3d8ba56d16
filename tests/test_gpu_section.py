"""README's section of a GPU's ratios, made of small synthetic records."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cnnkern import bench
from cnnkern.bench.record import append_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import gpu_section
import update_readme

MARKS = "".join(
    f"<!-- {name}:start -->\n<!-- {name}:end -->\n" for name in ("benchmark", "benchmark_gpu")
)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A README without sections, beside a CPU's record."""
    results = tmp_path / "results"
    row = bench.read_rows(update_readme.RESULTS / "lenet5.csv")[-1]
    append_rows(results / "lenet5.csv", [row])
    for name, value in {
        "README": tmp_path / "README.md",
        "RESULTS": results,
        "DOCS": tmp_path,
    }.items():
        monkeypatch.setattr(update_readme, name, value)
    monkeypatch.setattr(sys, "argv", ["update_readme.py"])
    update_readme.README.write_text(MARKS)
    return row


def gpu_row(row, problem, layout, ours, theirs):
    return replace(
        row, date="2026-11-30T10:00:00", machine="GPU X", device="cuda", isa="sm_90", torch="9.9",
        net="vgg16", problem=problem, direction="fprop", layout=layout, cnnkern_us=ours,
        torch_us=theirs, ratio=theirs / ours,
    )  # fmt: skip


def test_without_a_gpus_record_its_section_stays_as_it_is(page):
    update_readme.main()
    assert update_readme.README.read_text().endswith(MARKS.partition("\n<!-- benchmark_gpu")[2])
    assert not (update_readme.DOCS / "benchmark_gpu.png").exists()


def test_means_and_least_ratios(page, monkeypatch):
    rows = [
        gpu_row(page, "a", "nchw", 4, 2),
        gpu_row(page, "a", "nhwc", 2, 8),  # 2 by 2
        gpu_row(page, "b", "nchw", 4, 1),  # 1 by 4
    ]
    older = [replace(row, date="2026-11-29T10:00:00", ratio=100, cnnkern_us=0.01) for row in rows]
    cpu = [replace(row, date="2026-12-01T10:00:00", device="cpu") for row in rows]
    append_rows(update_readme.RESULTS / "gpu_fp16.csv", older + rows + cpu)
    append_rows(update_readme.RESULTS / "gpu_fp32.csv", [
        gpu_row(page, "a", "nhwc", 2, 3),
        replace(gpu_row(page, "c", "nhwc", 2, 3), net="pooling", direction="backward"),
    ])  # fmt: skip
    update_readme.main()
    text = update_readme.README.read_text()
    for line in (
        "| layers | pass | float16 | float32 |",
        "| VGG-16 | convolution forward | 0.50 (0.25) | 1.50 (1.50) |",
        "| pooling layers | pooling backward | – | 1.50 (1.50) |",
    ):
        assert line in text.splitlines()
    assert "against PyTorch 9.9 and its cuDNN on GPU X (sm_90), 2026-11-30:" in text
    drawn = gpu_section.panels(gpu_section.gpu_runs(update_readme.RESULTS))
    assert [(row.net, row.layer, row.ratio) for rows in drawn for row in rows] == [
        ("float16", "VGG-16", 0.5), ("float32", "VGG-16", 1.5), ("float32", "pooling layers", 1.5),
    ]  # fmt: skip
    assert (update_readme.DOCS / "benchmark_gpu.png").stat().st_size > 1000

    monkeypatch.setattr(sys, "argv", ["update_readme.py", "--check"])
    update_readme.main()
    append_rows(update_readme.RESULTS / "gpu_fp32.csv", [gpu_row(page, "b", "nhwc", 2, 5)])
    with pytest.raises(SystemExit, match=r"docs/benchmark_gpu.png does not show the newest rows"):
        update_readme.README.write_text(update_readme.sections()[1].put_into(text))
        update_readme.main()
