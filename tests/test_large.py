"""Offsets beyond 2^31: every CUDA kernel on sparse tensors."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import gathered_gemms

CPP = Path(__file__).parent / "cpp"
sys.path.insert(0, str(CPP))
import cpp_build  # noqa: E402

MMA_DTYPES = {
    "cnnkern::float16": "f16",
    "cnnkern::bfloat16": "bf16",
    "float": "tf32",
    "cnnkern::tf32x3": "f32",
}


def run(folder, *arguments):
    command = [folder / "run_large", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80"])
@pytest.mark.parametrize("variant", ["fast", "sanitized"])
def test_every_kernel_takes_more_than_2_31_elements(variant, arch):
    ran = run(cpp_build.build(variant), "--arch", arch)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = re.findall(rf"^ok {arch} (\w+) (\w+) \S+ ?(.*)$", ran.stdout, re.M)
    done = {(layout, name, words.removesuffix(" nhwc")) for layout, name, words in found}
    for layout, name, words in expected_runs(variant, arch):
        assert (layout, name, words) in done, f"{layout} {name} {words} did not run"


def expected_runs(variant, arch):
    """(layout, kernel, direction and dtype as a problem string has them)."""
    kernels = (Path(__file__).parents[1] / "csrc/cuda/conv/conv_kernels.inc").read_text()
    if variant == "sanitized":
        kernels = cpp_build.one_tile_each(kernels)
    for name, direction, dtype, layout in gathered_gemms():
        words = direction.replace("fprop", "") + (" f64" if dtype == "f64" else "")
        yield layout, name, words.strip()
    rows = re.findall(r"^CNNKERN_MMA_(\w+)\(\w+, ([\w:]+), (\d+), (\d+), (\d+)\)", kernels, re.M)
    assert {kind for _, kind, *_ in rows} == set(MMA_DTYPES)
    for direction, kind, m, n, k in rows:
        if arch == "sm_75" and kind != "cnnkern::float16":
            continue
        splits = "3xtf32_" if kind == "cnnkern::tf32x3" else ""
        words = f"{direction.lower()} {MMA_DTYPES[kind]}".replace("fprop ", "")
        yield "nhwc", f"implicit_gemm_mma_{splits}{m}x{n}x{k}", words
    for layout in ("nchw", "nhwc"):
        for direction in ("", "dgrad", "wgrad"):
            yield layout, "direct", direction
        for direction in ("forward", "backward", "gather"):
            yield layout, f"max_pool_{direction}", "maxpool"
        for direction in ("forward", "backward"):
            yield layout, f"avg_pool_{direction}", "avgpool"
            if layout == "nhwc":
                yield layout, f"max_pool_{direction}_nhwc", "maxpool"
                yield layout, f"avg_pool_{direction}_nhwc", "avgpool"
                yield layout, f"window_max_pool_{direction}_nhwc", "adaptive_maxpool"
            yield layout, f"window_max_pool_{direction}", "adaptive_maxpool"
        yield layout, "global_avg_pool", "avgpool"
        yield layout, "max_unpool", "max_unpool"
        yield layout, "bias_grad", "wgrad"
