"""How the tensor-core kernels touch memory, counted in the emulator."""

import pytest

import cnnkern

_C = pytest.importorskip("cnnkern._C")
pytest.importorskip("cnnkern._emulator")

TILES = ["256x128", "128x256", "128x128", "128x64", "64x64", "128x32", "64x32"]


@pytest.mark.parametrize("device", ["sm_75", "sm_80"])
@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
@pytest.mark.parametrize("tile", TILES)
def test_no_bank_conflicts_and_no_sector_in_vain(tile: str, direction: str, device: str) -> None:
    kernel, problem = f"implicit_gemm_mma_{tile}x32", f"n1c256h8w32k256r1s1 f16 nhwc {direction}"
    profile = cnnkern.explain(problem, device=device, kernel=kernel, profile=True).profile
    assert profile is not None
    (launch,) = profile.launches
    kinds = {site.kind for site in launch.sites}
    copies = {"cp.async read", "cp.async write"} if device == "sm_80" else {"global load"}
    assert kinds == {"shared load", "shared store", "global store", *copies}
    for site in launch.sites:
        assert site.conflicts == 0, site
        assert not site.is_global or site.efficiency >= 0.9, site


@pytest.mark.parametrize(
    ("problem", "least"),
    [
        ("n2c128h16w32k64r1s1 f16 nchw", 0.9),
        ("n1c24h16w16k160r1s1 bf16 nchw dgrad", 0.9),
        ("n1c64h14w14k64r1s1 f16 nchw", 0.8),  # planes begin on eight bytes
        ("n2c128h16w32k64r1s1 tf32 nchw", 0.9),
        ("n1c64h14w14k64r1s1 tf32 nchw dgrad", 0.9),
    ],
)
def test_the_layout_pass_has_no_bank_conflicts_and_few_sectors_in_vain(
    problem: str, least: float
) -> None:
    kernel = "implicit_gemm_mma_64x64x" + ("16" if "tf32" in problem else "32")
    profile = cnnkern.explain(problem, device="sm_80", kernel=kernel, profile=True).profile
    assert profile is not None
    moves = [launch for launch in profile.launches if "pad_layout" in launch.kernel]
    assert any("unpad" in launch.kernel for launch in moves) and len(moves) >= 2
    for site in (site for launch in moves for site in launch.sites):
        assert site.conflicts == 0, site
        assert not site.is_global or site.efficiency >= least, site


@pytest.mark.parametrize(
    ("direction", "tile"),
    [(row["direction"], row["name"]) for row in _C.kernels() if row.get("tf32")],
)
def test_floats_meet_in_no_bank(direction: str, tile: str) -> None:
    """Of a part of wgrad's depth the lanes store 8 bytes."""
    problem = f"n1c256h8w32k256r1s1 tf32 nhwc {direction}"
    profile = cnnkern.explain(problem, device="sm_80", kernel=tile, profile=True).profile
    assert profile is not None
    kinds = {site.kind for site in profile.launches[0].sites} - {"shared store"}
    assert kinds == {"shared load", "global store", "cp.async read", "cp.async write"}
    for site in profile.launches[0].sites:
        assert site.conflicts == 0, site
        assert not site.is_global or site.efficiency == 1, site
