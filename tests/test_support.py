"""README's support matrix says what the tests recorded (test_exact.py holds docs/support.csv)."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import update_support

TOOL = update_support.ROOT / "tools" / "update_support.py"

RAN = [("direct", "fprop", dtype, "nchw") for dtype in ("float16", "float32")]


def test_readme_agrees_with_the_record():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def lines(gpu_rows):
    """The columns dtypes and GPUs of each line, when an emulator ran RAN."""
    table = update_support.section([("sm_80", *row) for row in RAN], gpu_rows)
    return [(cells[2], cells[6]) for row in table.splitlines()[2:] if (cells := row.split(" | "))]


def test_a_line_names_the_gpus_that_ran_all_of_it():
    assert lines([]) == [("float32, float16", "none yet")]
    both = [(gpu, *row) for gpu in ("B (sm_90)", "A (sm_80)") for row in RAN]
    assert lines(both) == [("float32, float16", "A (sm_80), B (sm_90)")]
    in_part = [("A (sm_80)", *RAN[0]), ("A (sm_80)", "direct", "fprop", "float64", "nhwc")]
    assert lines(in_part) == [("float16", "A (sm_80)"), ("float32", "none yet")]


def test_a_gpus_newest_run_replaces_its_record_alone():
    record = [("A", "old"), ("B", "kept")]
    assert update_support.merged(record, [("A", "new"), ("A", "new")]) == [
        ("A", "new"), ("B", "kept"),
    ]  # fmt: skip


def test_files_of_several_processes_make_one_record(tmp_path, monkeypatch):
    seen, record, readme = tmp_path / "seen", tmp_path / "record.csv", tmp_path / "README.md"
    for name, path in (("GPU_SEEN", seen), ("GPU_RECORD", record), ("README", readme)):
        monkeypatch.setattr(update_support, name, path)
    monkeypatch.setattr(update_support, "SEEN", tmp_path / "absent.csv")
    monkeypatch.setattr(sys, "argv", ["update_support.py"])
    readme.write_text(f"{update_support.START}\n{update_support.END}\n")
    record.write_text("B,direct,fprop,float32,nhwc\n")
    update_support.main()
    assert record.read_text() == "B,direct,fprop,float32,nhwc\n", "no GPU has run"
    seen.mkdir()
    (seen / "gw0.csv").write_text("A,direct,fprop,float32,nhwc\nA,bias_grad,x,float32,nchw\n")
    (seen / "gw1.csv").write_text("A,direct,fprop,float32,nhwc\n")
    update_support.main()
    assert record.read_text().splitlines() == [
        "A,bias_grad,x,float32,nchw", "A,direct,fprop,float32,nhwc", "B,direct,fprop,float32,nhwc",
    ]  # fmt: skip
    assert "`direct`" in readme.read_text()
