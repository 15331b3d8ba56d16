"""explain and info: every figure of a plan, and the reason of every refusal."""

import pytest
import torch
from torch import nn

import cnnkern
from cnnkern import _C, _explain, backends

LAYER = "n8c64h56w56k64r3s3p1"


def test_cpu():
    found = cnnkern.explain(LAYER)
    assert (found.problem, found.device, found.backend) == (LAYER, "cpu", "cpu")
    assert found.kernel == "winograd" and found.isa == _C.isa() and found.why
    assert found.grid is None and found.registers is None and found.occupancy is None
    assert found.precision.startswith("float32 (transforms and sums in fp32, error below 1e-5")
    strided = cnnkern.explain(f"{LAYER}u2")
    assert strided.kernel == "implicit_gemm"
    assert strided.precision.startswith("float32 (exact products, fp32 sums)")
    assert "no CPU kernel rounds float32 to tf32" in str(found)


@pytest.mark.parametrize("device, product", _C.devices())
def test_gpu(device, product):
    found = cnnkern.explain(LAYER, device=device)
    assert found.backend == "cuda" and found.device == f"{device} ({product})"
    winograd = device in ("sm_75", "sm_86", "sm_89")  # where a column of a tile has 4 outputs
    splits = device in ("sm_80", "sm_90", "sm_100")
    gemm = "implicit_gemm_mma_3xtf32_" if splits else "implicit_gemm_simt_"
    assert found.kernel.startswith("winograd_" if winograd else gemm)
    assert found.tile[0] >= 64
    blocks = found.grid[0] * found.grid[1] * found.grid[2]
    assert blocks >= 8 * 56 * 56 * 64 / (found.tile[0] * found.tile[1] * (4 if winograd else 1))
    assert found.shared_bytes > 0 and 0 < found.occupancy <= 100
    assert found.blocks_per_multiprocessor >= 1
    text = str(found)
    for part in (found.kernel, "tile", "grid", "shared memory", "registers", "occupancy", device):
        assert part in text


def test_refusals_have_reasons():
    found = cnnkern.explain("n1c2h8w8k2r3s3 f64", device="sm_80")
    assert found.kernel == "direct"
    assert all(kernel and reason for kernel, reason in found.refusals)
    small = cnnkern.explain("n1c8h4w4k8r3s3p1", device="sm_80")
    assert small.refusals and all(f"{k}: {r}" in str(small) for k, r in small.refusals)


def test_a_layout_pass_is_told():
    found = cnnkern.explain("n8c64h56w56k64r3s3p1 f16 nchw", device="sm_80")
    assert "NCHW: one layout pass of" in str(found) and "direct would load" in str(found)


def test_a_kernel_can_be_asked_for():
    assert cnnkern.explain(LAYER, kernel="reference").kernel == "reference"
    with pytest.raises(RuntimeError, match="there is no kernel named nothing"):
        cnnkern.explain(LAYER, kernel="nothing")


def test_unfold_and_fold():
    layer, x = nn.Unfold(3, padding=1), torch.zeros(2, 4, 9, 8)
    found = cnnkern.explain(layer, x)
    assert (found.problem, found.kernel) == ("n2c4h9w8r3s3p1 unfold", "im2col") and found.why
    assert found.precision == "float32; no arithmetic"
    gradient = cnnkern.explain(layer, x, device="sm_80", direction="dgrad")
    assert (gradient.problem, gradient.kernel) == ("n2c4h9w8r3s3p1 fold", "col2im")
    assert gradient.grid == (3, 1, 1) and "one thread for each of 576 elements" in gradient.why
    pairs = cnnkern.explain("n2c4h9w8r3s3p1 complex fold", device="sm_80")
    assert pairs.grid == (5, 1, 1)
    assert cnnkern.explain("n2c4h9w8r3s3p1 u8 unfold", device="sm_80").kernel == "im2col"
    with pytest.raises(RuntimeError, match="there is no kernel named col2im"):
        cnnkern.explain("n2c4h9w8r3s3p1 unfold", kernel="col2im")


def test_split_k_is_told():
    found = cnnkern.explain("n32c64h56w56k64r3s3p1 wgrad", device="sm_86")
    assert found.split_k > 1
    assert found.workspace_bytes == found.split_k * 64 * 64 * 9 * 4
    assert f"{found.split_k} parts" in str(found)


def test_pools_on_a_gpu():
    found = cnnkern.explain("n8c64h112w112r3s3u2p1 maxpool", device="sm_80")
    assert found.kernel == "max_pool_forward" and found.shared_bytes == 0
    assert "no arithmetic" in found.precision
    found = cnnkern.explain(cnnkern.AdaptiveAvgPool2d(7), torch.zeros(8, 64, 14, 14), "sm_80")
    assert found.kernel == "avg_pool_forward" and "fp32 sums" in found.precision


def sites(launch, kind):
    return [site for site in launch.sites if site.kind == kind]


def test_profile_of_an_aligned_channels_last_problem():
    problem = "n16c64h56w56k64r3s3p1 nhwc"
    kernel = "implicit_gemm_simt_64x64x8_vec4"
    found = cnnkern.explain(problem, device="sm_80", kernel=kernel, profile=True)
    (launch,) = found.profile.launches
    assert launch.kernel.startswith("gemm_fprop<")
    assert (launch.blocks_run, launch.blocks) == (4, 784)
    tiles = 64 * 9 // 8
    assert launch.barriers == 4 * tiles
    assert launch.instructions["__syncthreads"] == 4 * tiles * found.threads // 32
    # One 16-byte cp.async a row and half tile, for both operands.
    reads, writes = sites(launch, "cp.async read"), sites(launch, "cp.async write")
    assert {site.instance for site in reads} == {"Filters", "GatheredInput"}
    assert all(site.efficiency == 1 and site.access_bytes == 16 for site in reads)
    assert sum(site.requests for site in writes) == launch.instructions["cp.async"]
    (store,) = sites(launch, "global store")
    assert store.file == "cuda/conv/epilogue.cuh" and "store_global(" in store.source
    assert store.bytes == 4 * 64 * 64 * 4 and store.efficiency == 1
    assert all(site.conflicts == 0 for site in sites(launch, "shared load"))
    assert found.profile.least_stored == 16 * 64 * 56 * 56 * 4 == launch.traffic(store=True)
    assert found.profile.least_read == 16 * 64 * 56 * 56 * 4 + 64 * 64 * 9 * 4
    text = str(found)
    for part in (
        "4 of 784 blocks, spread evenly",
        "epilogue.cuh:",
        "100%",
        store.source,
        "72 barr",
    ):
        assert part in text


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize(
    ("problem", "kernel", "wide"),
    [
        ("n4c64h29w28r3s3u2p1 maxpool", "max_pool_forward_nhwc", False),
        ("n4c64h29w28r3s3u2p1 maxpool values", "max_pool_forward_nhwc", True),
        ("n4c64h29w28r3s3u2p1 maxpool_backward", "max_pool_backward_nhwc", False),
        ("n4c64h29w28r3s3u2p1 maxpool offsets", "max_pool_forward_nhwc", False),
        ("n4c64h29w28r3s3u2p1 maxpool_backward offsets", "max_pool_backward_nhwc", False),
        ("n4c64h29w28r3s3u2p1 avgpool exclude_pad", "avg_pool_forward_nhwc", True),
        ("n4c64h29w28r3s3u2p1 avgpool_backward", "avg_pool_backward_nhwc", True),
        ("n4c64h29w28r6s7 adaptive_maxpool", "window_max_pool_forward_nhwc", False),
        ("n4c64h29w28r6s7 adaptive_maxpool_backward", "window_max_pool_backward_nhwc", False),
        ("n4c64h29w28r6s7 adaptive_avgpool", "avg_pool_forward_nhwc", True),
        ("n4c64h29w28r6s7 adaptive_avgpool_backward", "avg_pool_backward_nhwc", True),
        ("n4c256h7w7r1s1 adaptive_avgpool", "global_avg_pool", True),
    ],
)
def test_channels_last_pools_waste_no_sectors(problem, kernel, wide, dtype):
    """All bytes of a sector are asked for, 16 by a thread: with indices, 16 bytes of those."""
    found = cnnkern.explain(f"{problem} nhwc {dtype}", device="sm_80", profile=True)
    assert found.kernel == kernel
    (launch,) = found.profile.launches
    accesses = [site for site in launch.sites if site.is_global]
    assert len(accesses) >= 2 and all(site.efficiency >= 0.9 for site in accesses), accesses
    sizes = {site.access_bytes for site in accesses}
    assert sizes == {16} if wide else max(sizes) == 16
    assert all(site.conflicts == 0 for site in launch.sites)


def test_profile_of_all_directions_and_dimensions():
    for problem in (
        "n2c4w40k8s3p1", "n2c4w40k8s3p1 dgrad f64", "n2c4w40k8s3p1 wgrad f16",
        "n1c4h9w9k8r3s3u2p1 nhwc dgrad", "n1c4h9w9k8r3s3 wgrad", "n1c6d5h5w5k4g2t3r3s3 bf16",
        "n2c3w20s3u2 maxpool", "n1c4h9w9r3s3u2p1 nhwc maxpool_backward",
        "n1c2d5h5w5t2r2s2 maxpool f16", "n2c3w20s3u2p1 avgpool exclude_pad",
        "n1c4h9w9r3s3u2p1 nhwc avgpool_backward exclude_pad", "n1c4h9w9r3s4 adaptive_avgpool",
        "n1c2h9w9r3s4 adaptive_avgpool_backward f64", "n1c4h9w9r3s4 nhwc adaptive_maxpool_backward",
        "n1c2h9w9r3s4u2 fractional_maxpool f16", "n1c2h9w9r3s4u2 fractional_maxpool_backward",
        "n1c2h9w9r3s4 max_unpool",
    ):  # fmt: skip
        for device in ("sm_75", "sm_80"):
            found = cnnkern.explain(problem, device=device, profile=True).profile
            assert all(site.requests for launch in found.launches for site in launch.sites)
            assert any(sites(launch, "global store") for launch in found.launches)


@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("layer", ["r3s3p1", "r3s3u2p1", "r5s5p2"])
def test_profile_of_channels_last_depthwise(layer, direction, dtype):
    problem = f"n4g64c64h24w24k64{layer} {dtype} nhwc {direction}"
    found = cnnkern.explain(problem, device="sm_80", profile=True)
    assert found.kernel.startswith("depthwise_vec")
    for launch in found.profile.launches:
        accesses = [site for site in launch.sites if site.is_global]
        assert {site.kind for site in accesses} == {"global load", "global store"}
        assert all(site.efficiency >= 0.9 for site in accesses), accesses


def test_profile_counts_every_launch_of_a_split_sum():
    problem = "n32c64h56w56k64r3s3p1 wgrad"
    found = cnnkern.explain(problem, device="sm_86", profile=True).profile
    assert [launch.kernel[:10] for launch in found.launches] == ["gemm_wgrad", "split_k_re"]
    assert found.launches[1].traffic(store=True) == found.least_stored == 64 * 64 * 9 * 4
    (read,) = sites(found.launches[1], "global load")
    assert read.efficiency == 1, "the workspace lies as CUDA's allocator would align it"


def test_profile_of_empty_tensors():
    text = str(cnnkern.explain("n0c3h8w8k4r3s3", device="sm_80", profile=True))
    assert "no kernel is launched: the result is empty" in text
    assert "stored" in str(cnnkern.explain("n0c4h8w8k4r3s3 wgrad", device="sm_80", profile=True))


def test_profile_of_a_kernel_that_is_asked_for():
    found = cnnkern.explain(LAYER, device="sm_80", kernel="direct", profile=True).profile
    assert found.launches[0].kernel.startswith("direct_fprop")


def test_a_profile_leaves_the_emulator_as_it_was():
    cnnkern.explain("n4c4h32w32k4r1", device="sm_80", profile=True)
    x = torch.ones(4, 4, 32, 32)
    with cnnkern.backend("emulator"):
        y = cnnkern.functional.conv2d(x, torch.ones(4, 4, 1, 1))
    assert torch.equal(y, torch.full_like(y, 4))
    assert backends.emulator().take_profile() == []


def test_the_cpu_has_no_profile():
    with pytest.raises(ValueError, match="a profile counts CUDA kernels: give a GPU"):
        cnnkern.explain(LAYER, profile=True)


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
    with pytest.raises(TypeError, match="expected a Conv, ConvTranspose, MaxPool or AvgPool layer"):
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
