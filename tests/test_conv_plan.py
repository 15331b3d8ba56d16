"""Plans of the CUDA convolutions: pure functions of problem and device, so any GPU will do."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from cnnkern import models, problems

_C = pytest.importorskip("cnnkern._C")

# Threads and shared bytes that a block may have.
DEVICES = {
    "sm_75": (1024, 64 << 10),
    "sm_80": (1024, 163 << 10),
    "sm_86": (1024, 99 << 10),
    "sm_89": (1024, 99 << 10),
    "sm_90": (1024, 227 << 10),
    "sm_100": (1024, 227 << 10),
    "sm_120": (1024, 99 << 10),
}
# Blocks along x, y and z.
MAX_GRID = (2**31 - 1, 65535, 65535)

PROBLEMS = [
    "n8c64h56w56k64r3s3p1",
    "n8c64h56w56k64r3s3p1 nhwc",
    "n32c3h224w224k64r7s7u2p3",
    "n32c3h224w224k64r7s7u2p3 nhwc dgrad",
    "n32c256h14w14k512r3s3p1 nhwc wgrad",
    "n1c1h32w32k6r5s5",
    "n8g32c32h56w56k32r3s3p1 nhwc",
    "n2c16d8h8w8k32t3r3s3p1",
    "n4c8w1000k16s9u2p4 wgrad",
    "n8c64h56w56k64r3s3p1 f64",
    "n8c64h56w56k64r3s3p1 f16 nhwc",
    "n8c64h56w56k64r3s3p1 bf16 dgrad",
    "n0c4h6w6k4r3s3p1",
    "n0c4h6w6k4r3s3p1 wgrad",
]
BIG = "n32c256h56w56k256r3s3p1"
SPLITS = ("sm_80", "sm_90", "sm_100")  # where tensor cores take float32 as the sum of two tf32
DILATED = "n32c256h56w56k256r3s3p2l2"


def plan(problem: str, device: str = "sm_80") -> dict[str, Any]:
    result: dict[str, Any] = _C.plan(problem, device)
    return result


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_has_a_kernel_that_the_device_can_launch(problem: str, device: str) -> None:
    threads, shared_bytes = DEVICES[device]
    chosen = plan(problem, device)
    assert chosen["kernel"]
    assert 0 < chosen["threads"] <= threads and chosen["threads"] % 32 == 0
    assert chosen["shared_bytes"] <= shared_bytes
    assert all(0 <= size <= most for size, most in zip(chosen["grid"], MAX_GRID, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_big_convolutions_take_the_big_tile(layout: str, direction: str, device: str) -> None:
    chosen = plan(f"{BIG} {layout} {direction}", device)
    if device in SPLITS:
        assert chosen["kernel"] == "implicit_gemm_mma_3xtf32_128x64x16"
        return
    if direction != "wgrad" and device in ("sm_75", "sm_86", "sm_89"):  # Winograd's
        if device == "sm_86":
            assert chosen["kernel"] == "winograd_64x32x8"
            assert chosen["grid"][0] == 4 * 32 * 28 * 28 // 32
        else:  # a slice of 256 patches in tiles of 128, or of 512 in tiles of 64
            assert chosen["kernel"] == "winograd_4x4"
            assert list(chosen["grid"]) == [4 if device == "sm_75" else 32, 1, 36]
        chosen = plan(f"{DILATED} {layout} {direction}", device)
    vector = "_vec4" if layout == "nhwc" else ""
    assert chosen["kernel"] == f"implicit_gemm_simt_128x128x8{vector}"
    assert tuple(chosen["tile"]) == (128, 128, 8)
    assert chosen["split_k"] == 1 or direction == "wgrad"


@pytest.mark.parametrize("device", DEVICES)
def test_small_grids_take_the_small_tile(device: str) -> None:
    chosen = plan("n1c256h14w14k256r3s3p2l2 nhwc", device)
    if device in SPLITS:
        assert chosen["kernel"] == "implicit_gemm_mma_3xtf32_64x64x16"
        return
    assert chosen["kernel"] == "implicit_gemm_simt_64x64x8_vec4"
    assert tuple(chosen["grid"]) == (4 * 4, 1, 1)
    reasons = dict(chosen["refusals"])
    assert "a smaller tile fills the device better" in reasons["implicit_gemm_simt_128x128x8_vec4"]
    assert "make 4 blocks" in reasons["implicit_gemm_simt_128x128x8_vec4"]


def test_few_filters_do_not_take_the_big_tile() -> None:
    chosen = plan("n64c64h56w56k64r3s3p2l2", "sm_86")
    assert chosen["kernel"] == "implicit_gemm_simt_64x64x8"


def test_channels_that_do_not_divide_by_four_take_scalar_loads() -> None:
    chosen = plan("n32c3h224w224k128r7s7u2p3 nhwc")
    assert chosen["kernel"] == "implicit_gemm_simt_128x128x8"
    assert dict(chosen["refusals"])["implicit_gemm_simt_128x128x8_vec4"] == (
        "loads 4 channels at a time, but C/G = 3 is no multiple of 4"
    )


def test_strided_dgrad_has_a_class_for_each_remainder() -> None:
    assert plan("n8c128h56w56k128r3s3u2p1 dgrad")["grid"][1] == 4
    assert plan("n8c128d9h56w56k128r1s1ud3uh2uw1 dgrad")["grid"][1] == 6


def test_wgrad_splits_its_depth_only_where_the_device_would_stay_idle() -> None:
    narrow = plan("n32c64h56w56k64r3s3p1 nhwc wgrad")
    assert narrow["split_k"] > 1
    assert narrow["grid"][1] == narrow["split_k"]
    assert narrow["workspace_bytes"] == narrow["split_k"] * 64 * 64 * 9 * 4
    wide = plan("n8c512h14w14k2048r3s3p1 nhwc wgrad")
    assert wide["split_k"] == 1 and wide["workspace_bytes"] == 0


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
def test_depthwise_is_refused_by_the_gemms(direction: str) -> None:
    problem = f"n8g32c32h56w56k32r3s3p1 nhwc {direction}"
    with pytest.raises(RuntimeError, match="would be almost empty"):
        _C.plan(problem, "sm_80", "implicit_gemm_simt_64x64x8")


# (channels, pixels along an edge, stride) of MobileNetV2's depthwise layers.
MOBILENET_V2 = [
    *((32, 112, 1), (96, 112, 2), (144, 56, 1), (144, 56, 2), (192, 28, 1), (192, 28, 2)),
    *((384, 14, 1), (576, 14, 1), (576, 14, 2), (960, 7, 1)),
]


@pytest.mark.parametrize("device", ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100"])
@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_layers_of_mobilenet_v2_take_depthwise(
    dtype: str, layout: str, direction: str, device: str
) -> None:
    for channels, size, stride in MOBILENET_V2:
        layer = f"n32g{channels}c{channels}h{size}w{size}k{channels}r3s3u{stride}p1"
        chosen = plan(f"{layer} {dtype} {layout} {direction}", device)
        vectors = layout == "nhwc" and dtype != "f64"
        width = f"_vec{4 if dtype == 'f32' else 8}"
        assert chosen["kernel"].startswith(f"depthwise{width if vectors else ''}")
        assert chosen["threads"] >= 64
        assert chosen["grid"][0] * chosen["grid"][1] * chosen["grid"][2] >= 40


@pytest.mark.parametrize(
    ("problem", "kernel", "symbol"),
    [
        ("n8g64c64w1024k64s4pl3pr0 f16", "depthwise_vec8", "rows<cnnkern::float16, 8, 3, 1>"),
        ("n8g64c64w1024k64s4pl3pr0 f16 dgrad", "depthwise_vec8", "float16, 8, 3, 1>"),
        ("n8g64c64w1023k64s4pl3pr0 f16", "depthwise", "points<cnnkern::float16>"),
        ("n8g64c64h56w56k64r3s3p1", "depthwise_vec4", "rows<float, 4, 1, 1>"),
        ("n8g64c64h56w56k64r3s3u2p1", "depthwise_vec4", "rows<float, 4, 1, 2>"),
        ("n8g64c64h56w56k64r3s3u2p1 dgrad", "depthwise", "points<float>"),
        ("n8g64c64h56w56k128r3s3p1 nhwc bf16", "depthwise", "pixels<cnnkern::bfloat16, 1, 0, 0>"),
        ("n8g96c96h56w56k96r7s7p3 nhwc f16", "depthwise_vec8", "pixels<cnnkern::float16, 8, 7, 1>"),
        ("n8g96c96h56w56k96r7s7p9l3 nhwc f16", "depthwise_vec8", "float16, 8, 0, 0>"),
        ("n8g96c96h56w56k96r3s3u2p1 nhwc dgrad", "depthwise_vec4", "pixels<float, 4, 0, 0>"),
        ("n8g96c96h56w56k96r5s5p2 nhwc wgrad", "depthwise_vec4", "wgrad_pixels<float, 4, 5, 1>"),
        ("n2g16c16d8h28w28k16t3r3s3p1 nhwc", "depthwise_vec4", "pixels<float, 4, 3, 1>"),
    ],
)
def test_depthwise_kernels(problem: str, kernel: str, symbol: str) -> None:
    chosen = plan(problem)
    assert chosen["kernel"] == kernel
    assert chosen["symbol"].startswith("depthwise_") and chosen["symbol"].endswith(symbol)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("n1g2c4h8w8k4r3s3 f16", "filters each channel by itself, but C/G = 2"),
        ("n4096g8c8h1024w1024k8r3s3p1", "counts in 32 bits, but a tensor has 34359738368 elements"),
        ("n1g4c4h40w40k4r3s3u9 dgrad", "knows 8 stride classes an axis, but the stride is 9"),
        (
            "n1g8c8h200w200k8r110s110 nhwc",
            "stages 1 x 12100 weights of 1 channels in 48400 bytes of shared memory, "
            "but 40960 are set aside for them",
        ),
        (
            "n1c1h32w32k64r5s5",
            "each channel has 64 filters: a GEMM shares what it loads among them",
        ),
    ],
)
def test_depthwise_refuses(problem: str, reason: str) -> None:
    assert dict(plan(problem)["refusals"])["depthwise"] == reason


def test_winograd_refuses_large_tensors() -> None:
    reason = dict(plan("n1024c64h256w256k64r3s3p1", "sm_86")["refusals"])["winograd_64x32x8"]
    assert reason == "is for tensors of less than 2^31 elements, but one has 4294967296"


def test_depthwise_vectors_refuse() -> None:
    def reason(problem: str) -> str:
        return dict(plan(problem)["refusals"])["depthwise_vec4"]

    assert reason("n1g6c6h8w8k6r3s3p1 nhwc") == (
        "loads 4 channels at a time, but C = 6 is no multiple of 4"
    )
    assert reason("n1g8c8h8w8k16r3s3p1 nhwc") == (
        "pairs 4 channels with as many filters, but each has 2"
    )
    assert reason("n1g8c8h8w8k8r3s3") == (
        "loads 4 pixels of a row at a time, but rows of 8 and 6 are no multiples of 4"
    )
    assert reason("n1g8c8h8w8k8r3s3u2p1 dgrad") == (
        "makes gradients of stride 1, but the stride is 1 x 2 x 2"
    )
    assert reason("n1g8c8h8w8k8r9s9p4") == (
        "reads 1 pixel on each side of its own (3 at stride 1), but taps lie from -4 to 4 "
        "at stride 1"
    )


def test_depthwise_wgrad_splits_its_pixels() -> None:
    chosen = plan("n32g96c96h56w56k96r3s3p1 nhwc f16 wgrad")
    assert chosen["split_k"] > 1 and chosen["grid"][1] == chosen["split_k"]
    assert chosen["workspace_bytes"] == chosen["split_k"] * 96 * 9 * 4
    assert plan("n1g96c96h7w7k96r3s3p1 nhwc f16 wgrad")["workspace_bytes"] == 0


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
def test_what_32_bits_do_not_hold_is_refused_by_the_gemms(direction: str) -> None:
    chosen = plan(f"n4096c8h1024w1024k8r3s3p1 {direction}")
    assert chosen["kernel"] == "direct"
    assert any("32 bits" in reason for _, reason in chosen["refusals"])


def test_more_groups_than_a_grid_has_layers_are_refused() -> None:
    chosen = plan("n1g70000c280000h8w8k280000r1s1")
    assert chosen["kernel"] == "direct"
    assert any("exceed a grid" in reason for _, reason in chosen["refusals"])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_refusals_are_sentences_about_distinct_kernels(problem: str) -> None:
    refusals = plan(problem)["refusals"]
    names = [name for name, _ in refusals]
    assert len(names) == len(set(names))
    assert all(len(reason.split()) >= 4 for _, reason in refusals)
    assert "direct" not in names


def test_the_same_problem_gives_the_same_plan() -> None:
    assert plan(BIG) == plan(BIG)


# Layers of ResNet-50, one of each kind that has eight channels or more.
RESNET = [
    "n32c64h56w56k64r3s3p1",
    "n32c64h56w56k256r1s1",
    "n32c256h56w56k128r1s1u2",
    "n32c128h28w28k128r3s3p1",
    "n32c256h28w28k256r3s3u2p1",
    "n32c512h7w7k512r3s3p1",
    "n1c512h7w7k512r3s3p1",
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("problem", RESNET)
def test_16_bits_in_channels_last_take_the_tensor_cores(
    problem: str, dtype: str, direction: str, device: str
) -> None:
    """Those of sm_75 have float16 alone."""
    if (dtype, device) == ("bf16", "sm_75"):
        assert plan(f"{problem} bf16 nhwc {direction}", device)["kernel"] == "direct"
        return
    chosen = plan(f"{problem} {dtype} nhwc {direction}", device)
    assert chosen["kernel"].startswith("implicit_gemm_mma_")
    taken = [reason for _, reason in chosen["refusals"] if "modelled to take" in reason]
    assert all(int(words[8]) > int(words[-1]) for words in map(str.split, taken))


def test_tiles_fit_the_grid_and_the_filters() -> None:
    def tile(problem: str) -> tuple[int, ...]:
        return tuple(plan(f"{problem} f16 nhwc")["tile"])

    assert tile("n256c256h56w56k256r3s3p1") == (256, 128, 32)
    assert tile("n32c64h56w56k256r1s1") == (128, 128, 32)
    assert tile("n32c64h56w56k64r3s3p1") == (128, 64, 32)
    assert tile("n32c192h28w28k16r1s1") == (128, 32, 32)
    assert tile("n1c512h7w7k512r3s3p1") == (64, 32, 32)


def test_two_stages_of_the_largest_tile_fit_a_t4() -> None:
    chosen = plan("n256c256h56w56k256r3s3p1 f16 nhwc", "sm_75")
    assert tuple(chosen["tile"]) == (256, 128, 32)
    assert chosen["shared_bytes"] == 2 * (256 + 128) * 32 * 2


@pytest.mark.parametrize(
    ("problem", "device", "reason"),
    [
        ("n8c64h56w56k64r3s3p1 bf16", "sm_75", "bfloat16 on tensor cores, which T4 cannot"),
        ("n8c64h56w56k64r1s33 f16", "sm_80", "each tap of a row in 32, but there are 33 taps"),
        ("n8c64h56w56k64r7s7p3 f16 dgrad", "sm_80", "tap of a stride class in 32, but there are"),
        ("n8g32c64h56w56k64r3s3p1 f16", "sm_80", "but C/G = 2 and K/G = 2: most products"),
        ("n1c8192h600w600k64r3s3p1 f16", "sm_80", "steps by 32 bits, but a window spans"),
    ],
)
def test_tensor_cores_refuse_with_numbers(problem: str, device: str, reason: str) -> None:
    chosen = plan(f"{problem} nhwc", device)
    refusals = [text for name, text in chosen["refusals"] if "_mma_" in name]
    assert chosen["kernel"] == "direct" and len(refusals) == 7
    assert all(reason in text for text in refusals)


NETS = ["alexnet", "vgg16", "googlenet", "resnet50", "mobilenet_v2"]


@functools.cache
def convolutions(net: str) -> list[str]:
    """Its distinct layers, in the order of the network."""
    with torch.device("meta"):
        model = models.create(net, layers=torch.nn)
        images = torch.empty(8, 3, 224, 224)
    found: dict[str, None] = {}
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(
                lambda layer, inputs: found.setdefault(problems.of_layer(layer, *inputs))
            )
    model(images)
    return list(found)


# sm_75 has no tensor cores for bfloat16.
DTYPES_OF = {"sm_75": ["f32", "f64", "f16"]} | {
    device: ["f32", "f64", "f16", "bf16"] for device in ("sm_80", "sm_86", "sm_90", "sm_100")
}


@pytest.mark.parametrize(
    ("device", "dtype"), [(device, dtype) for device in DTYPES_OF for dtype in DTYPES_OF[device]]
)
@pytest.mark.parametrize("net", NETS)
def test_no_layer_of_the_five_networks_takes_direct(net: str, dtype: str, device: str) -> None:
    layers = convolutions(net)
    assert len(layers) >= 5
    for layer in layers:
        for layout in ("nchw", "nhwc"):
            for direction in ("fprop", "dgrad", "wgrad"):
                chosen = plan(f"{layer} {dtype} {layout} {direction}", device)
                assert chosen["kernel"] != "direct", (layer, layout, direction, chosen["refusals"])
                if chosen["kernel"].startswith("depthwise"):
                    continue
                if dtype == "f64":
                    assert chosen["kernel"].startswith("implicit_gemm_f64_")
                elif dtype != "f32":
                    assert chosen["kernel"].startswith(("implicit_gemm_mma_", "first_layer_"))


def test_the_plan_says_what_the_layout_pass_moves() -> None:
    # 16 images of 64 channels and 28 x 28 pixels, as many gradients, a filter of 64 x 64 x 9.
    nchw = plan("n16c64h28w28k64r3s3p1 f16")
    image, filters = 16 * 64 * 28 * 28 * 2, 64 * 64 * 9 * 2
    moved = 2 * (2 * image + filters)
    assert f"NCHW: one layout pass of {moved} bytes over input, weight, output;" in nchw["why"]
    assert f"direct would load {16 * 28 * 28 * 64 * 64 * 9 * 4} bytes" in nchw["why"]
    assert nchw["workspace_bytes"] == 2 * image + filters

    nhwc = plan("n16c64h28w28k64r3s3p1 f16 nhwc")
    assert "layout pass" not in nhwc["why"] and nhwc["workspace_bytes"] == 0

    odd = plan("n16c60h28w28k60r3s3p1 f16 nhwc")  # any number of filters is stored as it is
    assert "odd channels: one layout pass of" in odd["why"]
    assert "over input, weight;" in odd["why"]
    assert odd["workspace_bytes"] == image + 60 * 64 * 9 * 2

    # A filter of one tap, whose channels fill their vectors, is the same in both layouts.
    pointwise = plan("n16c64h28w28k64r1s1 f16 relu residual preactivation")
    assert "over input, output, residual, preactivation;" in pointwise["why"]


def test_few_products_are_not_worth_a_layout_pass() -> None:
    chosen = plan("n8c2h56w56k3r1s1 f16")
    moved = 2 * (2 + 8 + 8 + 3) * 8 * 56 * 56 + 2 * (3 * 2 + 8 * 8 + 3 + 8)
    assert chosen["kernel"] == "direct"
    reason = f"its layout pass would move {moved} bytes, direct loads {4 * 3 * 2 * 8 * 56 * 56}"
    assert [text for name, text in chosen["refusals"] if "_mma_" in name] == [reason] * 7


def test_the_layout_pass_and_the_parts_share_the_workspace() -> None:
    chosen = plan("n16c64h28w28k64r3s3p1 f16 wgrad")
    moved = 2 * 16 * 64 * 28 * 28 * 2 + 64 * 64 * 9 * 2
    assert chosen["split_k"] > 1
    assert chosen["workspace_bytes"] == moved + chosen["split_k"] * 64 * 64 * 9 * 4
