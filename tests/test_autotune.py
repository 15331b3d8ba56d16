"""Kernels by timing: off unless asked for, right whatever wins, remembered by problem."""

import json
import os
import subprocess
import sys

import pytest
import torch

import cnnkern
from cnnkern import _C, autotuning, testing

TEXT = "n2c16h12w12k16r3s3p1"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield tmp_path / "cnnkern" / "autotune.json"
    cnnkern.autotune(False)


def convolve():
    x = testing.integer_tensor(2, 16, 12, 12)
    w = testing.integer_tensor(16, 16, 3, 3, seed=1)
    return cnnkern.functional.conv2d(x, w, padding=1), torch.nn.functional.conv2d(x, w, padding=1)


def keys():
    return [key for key in _C.tuned() if key.endswith(f": {TEXT}")]


def test_nothing_is_timed_unless_asked_for():
    convolve()
    assert not keys()


def test_the_winner_is_used_and_kept(cache):
    cnnkern.autotune()
    ours, torchs = convolve()
    assert (ours - torchs).norm() <= 1e-5 * torchs.norm()
    (key,) = keys()
    assert key.startswith(f"cpu {_C.isa()}, {torch.get_num_threads()} threads: ")
    assert _C.tuned()[key] in ("winograd", "direct", "implicit_gemm")
    with testing.launches() as ran:
        convolve()
    assert ran == {f"cpu.{_C.tuned()[key]}": 1}
    cnnkern.autotune(False)
    assert json.loads(cache.read_text())[cnnkern.__version__][key] == _C.tuned()[key]
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]


def test_a_remembered_kernel_runs_without_timing(cache):
    key = f"cpu {_C.isa()}, {torch.get_num_threads()} threads: {TEXT} f64"
    cache.parent.mkdir()
    cache.write_text(json.dumps({cnnkern.__version__: {key: "implicit_gemm"}, "0.0": {"x": "y"}}))
    cnnkern.autotune()
    assert _C.tuned()[key] == "implicit_gemm" and "x" not in _C.tuned()
    cnnkern.autotune(False)
    assert json.loads(cache.read_text())["0.0"] == {"x": "y"}, "other versions keep theirs"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"1": 2}', "\0"])
def test_a_broken_cache_is_no_cache(cache, content):
    cache.parent.mkdir()
    cache.write_text(content)
    cnnkern.autotune()
    convolve()
    cnnkern.autotune(False)
    assert json.loads(cache.read_text())[cnnkern.__version__]


def test_results_are_written_at_exit(cache):
    code = (
        "import torch, cnnkern; cnnkern.autotune();"
        "cnnkern.functional.conv2d(torch.ones(1, 16, 8, 8), torch.ones(16, 16, 3, 3))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
    (kernels,) = json.loads(cache.read_text()).values()
    assert len(kernels) == 1


def test_a_forced_kernel_and_bad_arguments():
    cnnkern.autotune()
    with testing.force_kernel("conv", "reference"):
        ours, torchs = convolve()
    assert torch.equal(ours, torchs)
    with pytest.raises(TypeError, match=r"autotune\(\): argument 'enabled' must be bool, not str"):
        cnnkern.autotune("yes")
    assert autotuning.cache_file().name == "autotune.json"
