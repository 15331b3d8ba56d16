"""First layers on tensor cores: when the kernels run, how much of their padded sides is of use."""

from __future__ import annotations

import re
from typing import Any

import pytest

import cnnkern

_C = pytest.importorskip("cnnkern._C")

KERNEL = "first_layer_128x64x32"
# ResNet-50 and GoogLeNet, AlexNet, VGG-16, MobileNetV2; the share of the depth in per cent.
LAYERS = {
    "n32c3h224w224k64r7s7u2p3": 91,
    "n32c3h224w224k64r11s11u4p2": 94,
    "n32c3h224w224k64r3s3p1": 84,
    "n32c3h224w224k32r3s3u2p1": 84,
}
WGRAD_KERNELS = [f"first_layer_64x{n}x32" for n in (32, 128, 160)]


def plan(problem: str, device: str = "sm_80", forced: str = "") -> dict[str, Any]:
    result: dict[str, Any] = _C.plan(f"{problem} nhwc", device, forced)
    return result


@pytest.mark.parametrize(
    ("dtype", "device"),
    [("f16", "sm_75"), ("f16", "sm_80"), ("bf16", "sm_80"), ("f16", "sm_90"), ("bf16", "sm_120")],
)
@pytest.mark.parametrize(("layer", "useful"), LAYERS.items())
def test_first_layers_run_on_tensor_cores(layer, useful, dtype, device):
    chosen = plan(f"{layer} {dtype}", device)
    assert chosen["kernel"] == KERNEL
    found = re.search(r"of the depth, padded to (\d+), (\d+) % is filter$", chosen["why"])
    assert found and int(found[1]) % 32 == 0 and int(found[2]) == useful


@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(("layer", "padded"), zip(LAYERS, (160, 384, 32, 32)))
def test_their_weight_gradients_run_on_tensor_cores(layer, padded, dtype, device):
    if (dtype, device) == ("bf16", "sm_75"):
        pytest.skip("sm_75 has no bfloat16 on tensor cores")
    chosen = plan(f"{layer} {dtype} wgrad", device)
    assert chosen["kernel"] in WGRAD_KERNELS
    assert chosen["workspace_bytes"] <= 64 << 20 and chosen["grid"][1] == chosen["split_k"] > 1
    of_use = f"of the columns, padded to {padded}, {LAYERS[layer]} % is filter"
    assert chosen["why"].endswith(of_use)


def test_the_widest_tile_that_wastes_no_column_reads_the_gradient_once():
    widest = [plan(f"{layer} f16 wgrad")["tile"][1] for layer in LAYERS]
    assert widest == [160, 128, 32, 32]


@pytest.mark.parametrize(
    ("problem", "device", "reason"),
    [
        ("n1c3h8w8k64r3s3 bf16", "sm_75", "multiplies bfloat16 on tensor cores, which T4 cannot"),
        ("n1c5h8w8k64r3s3 f16", "sm_80", "images of at most 4 channels in one group, but C = 5"),
        ("n1g2c4h8w8k64r3s3 f16", "sm_80", "but C = 4 and groups = 2"),
        ("n1c3h8w8k64r3s3l2 f16", "sm_80", "its dilation along a row 2"),
        ("n1c3d4h8w8k64t2r3s3 f16", "sm_80", "but the filter is 2 deep"),
        ("n1c3h8w8k2r3s3 f16", "sm_80", "tile would be almost empty"),
        ("n1c4h16w33554432k64r9s3 f16", "sm_80", "a window spans 1342177280 elements"),
    ],
)
def test_refusals(problem, device, reason):
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        plan(problem, device, KERNEL)


@pytest.mark.parametrize(
    ("problem", "device", "reason"),
    [
        ("n1c3h8w8k64r3s3 bf16", "sm_75", "multiplies bfloat16 on tensor cores, which T4 cannot"),
        ("n1c5h8w8k64r3s3 f16", "sm_80", "images of at most 4 channels in one group, but C = 5"),
        ("n1c3h8w8k60r3s3 f16", "sm_80", "loads 8 channels at a time, but K/G = 60 is no multiple"),
        ("n1c3h8w8k64r3s3lh2 f16", "sm_80", "takes neighbouring rows, but the dilation along"),
        ("n1c3h8w32k64r3s17 f16", "sm_80", "in 16, but it is 3 x 17"),
        ("n16384c3h224w224k64r7s7u2p3 f16", "sm_80", "the images have 2532315870 elements"),
    ],
)
@pytest.mark.parametrize("kernel", WGRAD_KERNELS)
def test_refusals_of_weight_gradients(problem, device, reason, kernel):
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        plan(f"{problem} wgrad", device, kernel)


@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
def test_no_bank_conflicts(device):
    pytest.importorskip("cnnkern._emulator")
    problem = "n1c3h32w32k64r7s7u2p3 f16 nhwc"
    found = cnnkern.explain(problem, device=device, kernel=KERNEL, profile=True)
    (launch,) = found.profile.launches
    assert all(site.conflicts == 0 for site in launch.sites)
    (store,) = [site for site in launch.sites if site.kind == "global store"]
    assert store.access_bytes == 16 and store.efficiency == 1


@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
@pytest.mark.parametrize("kernel", WGRAD_KERNELS)
def test_weight_gradients_have_no_bank_conflicts(kernel, device):
    """And whole sectors, but for the input's single elements."""
    pytest.importorskip("cnnkern._emulator")
    problem = "n1c3h32w32k64r7s7u2p3 f16 nhwc wgrad"
    found = cnnkern.explain(problem, device=device, kernel=kernel, profile=True)
    gemm = found.profile.launches[0]
    assert all(site.conflicts == 0 for site in gemm.sites)
    loads = {site.access_bytes: site for site in gemm.sites if site.kind == "global load"}
    assert loads.keys() == {2, 16} and loads[16].efficiency == 1
