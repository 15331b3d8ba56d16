"""float64 convolutions as GEMMs: who takes them, and how they touch memory."""

import cases
import pytest

import cnnkern
from cnnkern import _C

needs_emulator = pytest.mark.skipif(bool(cases.has_emulator()), reason=cases.has_emulator())

DEVICES = [name for name, _ in _C.devices()]
LAYER = "n8c64h28w28k96r3s3p1 f64"
TILE = "implicit_gemm_f64_64x64x8"


def plan(problem: str, device: str = "sm_80", kernel: str = "") -> dict:
    return _C.plan(problem, device, kernel)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
def test_dense_layers_take_the_gemm(direction, device):
    assert plan(f"{LAYER} nhwc {direction}", device)["kernel"] == f"{TILE}_vec2"
    assert plan(f"{LAYER} nchw {direction}", device)["kernel"] == TILE
    odd = plan(f"{LAYER.replace('k96', 'k95')} nhwc {direction}", device)
    assert odd["kernel"] == TILE
    assert dict(odd["refusals"])[f"{TILE}_vec2"] == (
        "loads 2 channels at a time, but C/G = 64 and K/G = 95 is no multiple of 2"
    )


@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
def test_other_types_are_not_asked(direction):
    assert TILE not in dict(plan(f"n8c64h28w28k96r3s3p1 {direction}")["refusals"])
    with pytest.raises(RuntimeError, match=TILE):
        plan(f"n8c64h28w28k96r3s3p1 {direction}", kernel=TILE)


def test_parts_of_a_split_depth_are_doubles():
    chosen = plan(f"{LAYER} nhwc wgrad")
    assert chosen["split_k"] > 1
    assert chosen["workspace_bytes"] == chosen["split_k"] * 64 * 96 * 9 * 8


def test_the_depth_is_split_for_the_rate_of_the_device():
    """A GPU that multiplies doubles slowly is full with fewer blocks."""
    slow, fast = (plan(f"{LAYER} nhwc wgrad", device)["split_k"] for device in ("sm_86", "sm_90"))
    assert slow <= fast


@needs_emulator
@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize(("layout", "kernel"), [("nhwc", f"{TILE}_vec2"), ("nchw", TILE)])
def test_no_bank_conflicts_and_no_sector_in_vain(layout, kernel, direction, device):
    problem = f"n1c64h8w16k64r1s1 f64 {layout} {direction}"
    profile = cnnkern.explain(problem, device=device, kernel=kernel, profile=True).profile
    assert profile is not None
    # Weights in N C D H W leave one by one, each second one of a sector at a time.
    halves = layout == "nchw" and direction == "wgrad"
    for site in profile.launches[0].sites:
        assert site.conflicts == 0, site
        least = 0.5 if halves and site.kind == "global store" else 0.9
        assert not site.is_global or site.efficiency >= least, site
