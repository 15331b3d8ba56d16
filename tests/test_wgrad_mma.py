"""The tensor-core weight gradient: when it runs, how its depth is split, what it asks of memory."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

import cnnkern

_C = pytest.importorskip("cnnkern._C")

AMPERE_ON = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
LAYERS = [
    "n256c64h56w56k64r3s3p1",
    "n256c64h56w56k256r1s1",
    "n32c256h56w56k128r1s1u2",
    "n256c512h7w7k512r3s3p1",
    "n1c64h8w8k64r3s3p1",
    "n8g32c256h14w14k256r3s3p1",
    "n4c32d16h28w28k64t3r3s3p1",
]
TILES = [(256, 64), (128, 128), (128, 64), (64, 128), (64, 64)]
NAMES = [f"implicit_gemm_mma_{m}x{n}x32" for m, n in TILES]


def plan(problem: str, device: str = "sm_80", forced: str = "") -> dict[str, Any]:
    result: dict[str, Any] = _C.plan(f"{problem} nhwc wgrad", device, forced)
    return result


@pytest.mark.parametrize(
    ("dtype", "device"), [("f16", "sm_75"), *product(("f16", "bf16"), AMPERE_ON)]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_eight_channels_run_on_the_tensor_cores(layer, dtype, device):
    chosen = plan(f"{layer} {dtype}", device)
    assert chosen["kernel"] in NAMES
    assert chosen["workspace_bytes"] <= 64 << 20
    assert chosen["grid"][1] == chosen["split_k"]
    tiles = [reason for name, reason in chosen["refusals"] if name in NAMES]
    assert all("modelled to take" in reason for reason in tiles)


@pytest.mark.parametrize("device", AMPERE_ON)
@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_depth_is_split_only_where_that_is_modelled_faster(layer, dtype, device):
    chosen = plan(f"{layer} {dtype}", device)
    found = re.search(r"modelled to take (\d+) cycles .*, (\d+) in one part$", chosen["why"])
    assert (found is not None) == (chosen["split_k"] > 1)
    if found:
        assert int(found[1]) < int(found[2])


@pytest.mark.parametrize("device", AMPERE_ON)
def test_the_depth_is_split_by_what_it_brings(device):
    """A long depth over few tiles is; many tiles are not, nor where the sum costs more."""
    assert plan("n256c64h56w56k64r3s3p1 f16", device)["split_k"] > 16
    assert plan("n32c512h7w7k512r3s3p1 f16", device)["split_k"] == 1
    assert plan("n1c512h4w4k512r1s1 f16", device)["split_k"] == 1
    assert plan("n1c8h8w8k8r1s1 f16", device)["split_k"] == 1


def test_the_workspace_is_capped():
    large = plan("n64c1024h32w32k1024r3s3p1 f16", "sm_80", "implicit_gemm_mma_256x64x32")
    assert large["split_k"] * 1024 * 1024 * 9 * 4 <= 64 << 20


@pytest.mark.parametrize(
    ("problem", "device", "reason"),
    [
        (
            "n1g4c12h8w8k64r1s1 f16",
            "sm_80",
            "packs groups of at least 4 channels and filters into one, but C/G = 3 and K/G = 16",
        ),
        ("n1c64h8w8k64r1s1 bf16", "sm_75", "bfloat16 on tensor cores, which T4 cannot"),
        ("n1c8h16384w16384k8r1s1u4096 f16", "sm_75", "an image has"),
    ],
)
def test_refusals(problem, device, reason):
    for name in NAMES:
        with pytest.raises(RuntimeError, match=re.escape(reason)):
            plan(problem, device, name)


@pytest.mark.parametrize(
    ("dtype", "device"), [("f16", "sm_75"), ("f16", "sm_80"), ("bf16", "sm_80")]
)
@pytest.mark.parametrize("name", NAMES)
def test_no_bank_conflicts_and_whole_sectors(name, dtype, device):
    """Of an aligned problem: every access of shared memory in one wavefront a phase."""
    problem = f"n2c64h12w12k256r3s3p1 {dtype} nhwc wgrad"
    found = cnnkern.explain(problem, device=device, kernel=name, profile=True)
    gemm, *reduction = found.profile.launches
    for site in gemm.sites:
        assert site.conflicts == 0, site
        if site.is_global:
            assert site.efficiency == 1, site
    kinds = {site.kind for site in gemm.sites}
    copies = {"cp.async read", "cp.async write"} if device == "sm_80" else {"global load"}
    kinds.discard("shared store")  # on the way to whole weights
    assert kinds == {*copies, "shared load", "global store"}
    assert len(reduction) == (found.split_k > 1)
    assert all(s.efficiency == 1 and s.access_bytes >= 8 for r in reduction for s in r.sites)


def test_the_result_itself_is_stored_in_whole_sectors():
    problem = "n1c64h4w4k128r1s1 f16 nhwc wgrad"
    found = cnnkern.explain(problem, device="sm_80", profile=True)
    assert found.split_k == 1
    (store,) = [s for s in found.profile.launches[0].sites if s.kind == "global store"]
    assert store.access_bytes == 16 and store.efficiency == 1
