"""The command: what it prints, what it writes, and the sentences it fails with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cnnkern
from cnnkern import _C, bench
from cnnkern.cli import app
from cnnkern.models import LeNet5, list_models, summarize


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_python_m_cnnkern() -> None:
    command = [sys.executable, "-m", "cnnkern", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("info", "explain", "kernels", "summary", "models", "bench", "train", "predict"):
        assert name in done.stdout


def test_info() -> None:
    result = run("info")
    assert result.exit_code == 0
    assert cnnkern.__version__ in result.stdout and _C.isa() in result.stdout


def test_explain_names_kernel_tile_grid_and_refusals() -> None:
    problem = "n8c64h56w56k64r3s3p1"
    result = run("explain", problem, "--device", "sm_80")
    assert result.exit_code == 0
    explanation = cnnkern.explain(problem, device="sm_80")
    assert explanation.kernel in result.stdout
    for word in ("tile", "grid", "shared memory", "occupancy"):
        assert word in result.stdout
    assert explanation.refusals
    for kernel, reason in explanation.refusals:
        assert f"{kernel}: {reason}" in result.stdout
    assert _C.isa() in run("explain", problem).stdout


def test_explain_prints_a_profile() -> None:
    problem = "n16c64h56w56k64r3s3p1 nhwc"
    result = run("explain", problem, "--device", "sm_80", "--profile")
    assert result.exit_code == 0, result.output
    assert cnnkern.explain(problem, device="sm_80").kernel in result.stdout
    for part in ("4 of 392 blocks, spread evenly", "cp.async read", "times the least"):
        assert part in result.stdout


@pytest.mark.parametrize("device", ["cpu", "sm_75", "sm_80"])
def test_kernels_lists_every_kernel_of_a_device(device: str) -> None:
    result = run("kernels", "--device", device)
    assert result.exit_code == 0
    backend = "cpu" if device == "cpu" else "cuda"
    names = [kernel["name"] for kernel in _C.kernels() if kernel["backend"] == backend]
    assert names
    for name in set(names):
        assert result.stdout.count(f" {name} ") == names.count(name)


def test_summary() -> None:
    result = run("summary", "lenet5")
    assert result.exit_code == 0
    assert "(32 + 2·0 − 5)/1 + 1 = 28" in result.stdout
    assert "61,706" in result.stdout
    assert "(66 + 2·0 − 3)/1 + 1 = 64" in run("summary", "text_cnn_small").stdout  # of tokens
    assert "…" not in run("summary", "ssd").stdout


def test_models_lists_sizes_without_building_them() -> None:
    result = run("models")
    assert result.exit_code == 0
    rows = {words[0]: words for line in result.stdout.splitlines() if (words := line.split())}
    assert set(list_models()) < set(rows) and "…" not in result.stdout
    # Parameters as torchvision documents them.
    assert rows["resnet50"][1:4] == ["classification", "3×224×224", "25,557,032"]
    assert rows["vgg16"][3] == "138,357,544" and rows["mobilenet_v2"][3] == "3,504,872"
    assert rows["lenet5"][4] == f"{summarize(LeNet5(), (1, 32, 32)).flops:,}"


def test_bench_writes_rows_and_picture(tmp_path: Path) -> None:
    for _ in range(2):
        result = run("bench", "n1c2h6w6k2r3s3", "--out", tmp_path, "--budget", 0.001)
        assert result.exit_code == 0, result.output
    rows = bench.read_rows(tmp_path / "problems.csv")
    assert [row.direction for row in rows] == ["fprop", "dgrad", "wgrad"] * 2
    assert "geometric mean" in result.stdout
    assert (tmp_path / "problems.png").read_bytes().startswith(b"\x89PNG")


def test_train_saves_resumes_and_draws(tmp_path: Path) -> None:
    from test_data import write_idx_set

    write_idx_set(tmp_path)
    checkpoint, pictures = tmp_path / "run.pt", tmp_path / "pictures"
    common = ("--data", tmp_path, "--batch-size", 8, "--checkpoint", checkpoint)
    assert run("train", *common, "--epochs", 1).exit_code == 0
    result = run("train", *common, "--epochs", 2, "--resume", checkpoint, "--out", pictures)
    assert result.exit_code == 0, result.output
    assert "epoch   2" in result.stdout and "epoch   1" not in result.stdout
    assert {path.name for path in pictures.iterdir()} == {
        "confusion_matrix.png",
        "filters.png",
        "learning_curve.png",
        "misclassified.png",
    }
    again = run("train", *common, "--epochs", 2, "--resume", checkpoint)
    assert again.exit_code == 2
    assert "run.pt has 2 epochs already; ask for more with --epochs" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("explain frog", "problem: 'frog' has no size list such as n8c64h56w56k64r3s3p1"),
        ("explain n1c3h4w4k2r5s5", "Kernel size can't be greater than actual input size"),
        ("explain n1c3h9w9k2r5s5 --device sm_1", "device 'sm_1' is not known; use one of cpu, "),
        ("explain n1c3h9w9k2r5s5 --profile", "a profile counts CUDA kernels: give a GPU such as"),
        ("kernels --device sm_1", "device 'sm_1' is not known; use one of cpu, sm_75"),
        ("train --model unet", "train: unet is a network for scene labelling, not for class"),
        ("summary frog", "there is no model named 'frog'; known: "),
        ("bench frog", "'frog' is no network (alexnet, "),
        ("bench n1c3", "gives neither h nor w"),
        ("train --model frog", "there is no model named 'frog'"),
        ("train --data /absent", "/absent: no such file or folder, nor a data set"),
        ("train --resume /absent.pt", "/absent.pt: no such checkpoint"),
        ("train --lr 0", "learning rate must be positive, but is 0.0"),
        ("train --loss frog", "loss must be one of cross-entropy, mse, but is 'frog'"),
        ("train --augment frog", "augmentation must be one of crop, translate, mirror, rotate, ph"),
        ("train --schedule frog", "schedule must be one of exponential, cosine, step, one-cycle,"),
        ("train --init frog", "there is no initialisation named 'frog'"),
        ("train --activation frog", "there is no activation named 'frog'; known: relu, tanh, sig"),
        ("train --model vgg11_small --activation tanh", "--activation goes with lenet5, not with"),
        ("train --model text_cnn_small", "train: digits holds pictures, but text_cnn_small reads"),
        ("predict /absent.pt picture.png", "/absent.pt: no such checkpoint"),
    ],
)
def test_errors_are_one_sentence_and_code_2(arguments: str, sentence: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert result.stderr.startswith("cnnkern: ") and sentence in result.stderr
    assert result.stderr.count("\n") == 1, "one sentence, no traceback"


@pytest.mark.parametrize("arguments", ["frog", "explain", "train --epochs 0", "train --device tpu"])
def test_wrong_usage_ends_with_code_2(arguments: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2 and "Traceback" not in result.stderr


def test_cuda_without_a_gpu_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for command in ("train", "bench lenet5"):
        result = run(*command.split(), "--device", "cuda")
        assert result.exit_code == 2
        assert "torch sees no GPU here; use --device cpu" in result.stderr


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "give a target"),
        (["lenet5", "--suite", "cpu"], "give a target .* or --suite, not both"),
        (["lenet5", "--quick"], "--quick goes with --suite"),
        (["--suite", "nets", "--device", "cuda"], "the suites run on the CPU"),
    ],
)
def test_bench_says_what_it_takes(arguments: list[str], sentence: str) -> None:
    result = run("bench", *arguments)
    assert result.exit_code == 2 and re.search(sentence, result.output), result.output


def test_bench_writes_a_suites_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnkern.bench.suite.resolve", lambda file: (file, [f"{file}.x {POOL}"]))
    result = run("bench", "--suite", "cpu", "--quick", "--out", tmp_path, "--budget", 0.001)
    assert result.exit_code == 0, result.output
    rows = bench.read_rows(tmp_path / "cpu_quick.csv")
    assert {row.problem for row in rows} == {POOL.replace("n2", "n1")}
    assert "max pool" in result.stdout and [*tmp_path.iterdir()] == [tmp_path / "cpu_quick.csv"]


POOL = "n2c3h9w8r3s3u2 maxpool"
