"""explain and info: every figure of a plan, and the reason of every refusal."""

import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import _C, _explain

LAYER = "n8c64h56w56k64r3s3p1"


def test_cpu():
    found = cnnkern.explain(LAYER)
    assert (found.problem, found.device, found.backend) == (LAYER, "cpu", "cpu")
    assert found.kernel == "implicit_gemm" and found.isa == _C.isa() and found.why
    assert found.grid is None and found.registers is None and found.occupancy is None
    assert found.precision.startswith("float32 (exact products, fp32 sums)")
    assert "allow_tf32 has no effect" in str(found)


@pytest.mark.parametrize("device, product", _C.devices())
def test_gpu(device, product):
    found = cnnkern.explain(LAYER, device=device)
    assert found.backend == "cuda" and found.device == f"{device} ({product})"
    assert found.kernel.startswith("implicit_gemm_simt_") and found.tile[0] >= 64
    blocks = found.grid[0] * found.grid[1] * found.grid[2]
    assert blocks >= 8 * 56 * 56 * 64 / (found.tile[0] * found.tile[1])
    assert found.shared_bytes > 0 and 0 < found.occupancy <= 100
    assert found.blocks_per_multiprocessor >= 1
    text = str(found)
    for part in (found.kernel, "tile", "grid", "shared memory", "registers", "occupancy", device):
        assert part in text


def test_refusals_have_reasons():
    found = cnnkern.explain("n1c3h8w8k4r3s3 f16", device="sm_80")
    assert found.kernel == "direct"
    assert all(kernel and reason for kernel, reason in found.refusals)
    small = cnnkern.explain("n1c8h4w4k8r3s3p1", device="sm_80")
    assert small.refusals and all(f"{k}: {r}" in str(small) for k, r in small.refusals)


def test_a_kernel_can_be_asked_for():
    assert cnnkern.explain(LAYER, kernel="reference").kernel == "reference"
    with pytest.raises(RuntimeError, match="there is no kernel named nothing"):
        cnnkern.explain(LAYER, kernel="nothing")


def test_split_k_is_told():
    found = cnnkern.explain("n32c64h56w56k64r3s3p1 wgrad", device="sm_80")
    assert found.split_k > 1
    assert found.workspace_bytes == found.split_k * 64 * 64 * 9 * 4
    assert f"{found.split_k} parts" in str(found)


def test_records_give_registers(monkeypatch):
    """The record of the plan's kernel and architecture, and no other."""
    symbol = _C.plan(LAYER, "sm_90", "")["symbol"]
    row = {"spill_store_bytes": 4, "spill_load_bytes": 8}
    rows = [
        {**row, "arch": "80", "demangled": f"void cnnkern::{symbol}(int)", "registers": 50},
        {**row, "arch": "90a", "demangled": "void cnnkern::other(int)", "registers": 60},
        {**row, "arch": "90a", "demangled": f"void cnnkern::{symbol}(int)", "registers": 70},
    ]
    monkeypatch.setattr(_explain, "build_info", lambda: {"kernels": rows})
    found = cnnkern.explain(LAYER, device="sm_90")
    assert (found.registers, found.spill_bytes) == (70, 12)
    blocks = _C.occupancy("sm_90", found.threads, 70, found.shared_bytes)
    assert found.blocks_per_multiprocessor == blocks
    assert found.occupancy == pytest.approx(100 * blocks * found.threads / 2048)
    monkeypatch.setattr(_explain, "build_info", dict)
    assert "not recorded" in str(cnnkern.explain(LAYER, device="sm_90"))


def test_layers():
    x = torch.zeros(2, 3, 32, 32)
    layer = nn.Conv2d(3, 10, 5, padding=2)
    assert cnnkern.explain(layer, x).problem == "n2c3h32w32k10r5s5p2"
    assert cnnkern.explain(layer, x, direction="wgrad").problem == "n2c3h32w32k10r5s5p2 wgrad"
    assert cnnkern.explain(cnnkern.MaxPool2d(2), x).kernel
    with pytest.raises(TypeError, match="needs its input"):
        cnnkern.explain(layer)
    with pytest.raises(TypeError, match="expected a Conv, ConvTranspose or MaxPool layer"):
        cnnkern.explain(nn.Linear(2, 2), x)


def test_bad_problems_and_devices():
    with pytest.raises(ValueError, match="q7"):
        cnnkern.explain("n1c3h8w8k4r3s3q7")
    with pytest.raises(ValueError, match="device 'sm_1' is not known; use one of cpu, sm_75"):
        cnnkern.explain(LAYER, device="sm_1")


def test_info():
    info = cnnkern.info()
    assert info.version == cnnkern.__version__ and info.torch == torch.__version__
    text = str(info)
    assert info.isa in text and "emulator" in text
    for sentence in info.remedies.values():
        assert sentence in text
    assert ("CUDA" in info.remedies) == (not info.cuda or info.gpu is None)
    assert ("the emulator" in info.remedies) == (not info.emulator)
