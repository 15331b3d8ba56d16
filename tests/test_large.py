"""Offsets beyond 2^31: every CUDA kernel on sparse tensors; cutting an offset to 32 bits fails."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_mutants import Mutant

CPP = Path(__file__).parent / "cpp"
sys.path.insert(0, str(CPP))
import build as cpp_build  # noqa: E402

INPUT_AND_OUTPUT = "n2c8h50000w50000k8r3s3u2p1"
LARGE_WEIGHT = "n1c1028h4w4k2100004r1"
WGRAD = "n2c528388h64w64k528388r1 wgrad"
POOL = "n2c3h50000w50000r3s3p1 maxpool"
SIMT = "implicit_gemm_simt_64x64x8"


def run(folder, *arguments):
    command = [folder / "run_large", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80"])
@pytest.mark.parametrize("variant", ["fast", "sanitized"])
def test_every_kernel_takes_more_than_2_31_elements(variant, arch):
    ran = run(cpp_build.build(variant), "--arch", arch)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    done = set(re.findall(rf"^ok {arch} (\w+) (\w+) \S+ ?(\w*)$", ran.stdout, re.M))
    for layout, name, direction in expected_runs():
        assert (layout, name, direction) in done, f"{layout} {name} {direction} did not run"


def expected_runs():
    """(layout, kernel, direction), the direction as a problem string has it."""
    kernels = (Path(__file__).parents[1] / "csrc/cuda/conv/conv_kernels.inc").read_text()
    rows = re.findall(r"^CNNKERN_SIMT_(\w+)\((\w+), (\d), (\d+), (\d+), (\d+)\)", kernels, re.M)
    assert rows
    for direction, layout, vector, m, n, k in rows:
        name = f"implicit_gemm_simt_{m}x{n}x{k}" + (f"_vec{vector}" if vector != "1" else "")
        yield layout, name, direction.lower().replace("fprop", "")
    for layout in ("nchw", "nhwc"):
        for direction in ("", "dgrad", "wgrad"):
            yield layout, "direct", direction
        for direction in ("forward", "backward", "gather"):
            yield layout, f"max_pool_{direction}", "maxpool"
        yield layout, "bias_grad", "wgrad"


def cut(name, file, old, new, source, problem, kernel):
    return Mutant(name, file, old, new, (source,), problem, kernel)


FPROP, DGRAD, WGRAD_CU = (f"cuda/conv/{name}.cu" for name in ("fprop", "dgrad", "wgrad"))
DIRECT, MAX_POOL = "cuda/conv/direct.cu", "cuda/pool/max_pool.cu"
CUTS = [
    cut(
        "gathered_image",
        "cuda/conv/pixel_gather.cuh",
        "image * image_stride + ",
        "image * static_cast<int>(image_stride) + ",
        *(FPROP, INPUT_AND_OUTPUT, SIMT),
    ),
    cut(
        "gathered_channel",
        "cuda/conv/pixel_gather.cuh",
        "channel * channel_stride + ",
        "channel * static_cast<int>(channel_stride) + ",
        *(FPROP, INPUT_AND_OUTPUT, SIMT),
    ),
    cut(
        "gathered_pixel",
        "cuda/conv/pixel_gather.cuh",
        "const int64_t pixel = (static_cast<int64_t>(at.d) * extent.h + at.h)",
        "const int pixel = (at.d * extent.h + at.h)",
        *(FPROP, INPUT_AND_OUTPUT, SIMT),
    ),
    cut(
        "filter_row",
        FPROP,
        "static_cast<int64_t>(k) * elements",
        "k * elements",
        *(FPROP, LARGE_WEIGHT, SIMT),
    ),
    cut(
        "output_row",
        FPROP,
        "return pixel * p.k;",
        "return pixel * static_cast<int>(p.k);",
        *(FPROP, INPUT_AND_OUTPUT, SIMT),
    ),
    cut(
        "epilogue_column",
        "cuda/conv/epilogue.cuh",
        "n * output.column_stride",
        "n * static_cast<int>(output.column_stride)",
        *(FPROP, INPUT_AND_OUTPUT, SIMT),
    ),
    cut(
        "epilogue_row",
        "cuda/conv/epilogue.cuh",
        "const int64_t row = output",
        "const int row = output",
        *(DGRAD, f"{INPUT_AND_OUTPUT} dgrad", SIMT),
    ),
    cut(
        "input_position",
        DGRAD,
        "(static_cast<int64_t>(pixel.d) * p.input_extent.h + pixel.h) * p.input_extent.w",
        "(pixel.d * p.input_extent.h + pixel.h) * p.input_extent.w",
        *(DGRAD, f"{INPUT_AND_OUTPUT} dgrad", SIMT),
    ),
    cut(
        "filter_depth",
        DGRAD,
        "return k * p.filter_elements + ",
        "return k * static_cast<int>(p.filter_elements) + ",
        *(DGRAD, "n1c2100004h4w4k1028r1 dgrad", SIMT),
    ),
    cut(
        "gradient_row",
        WGRAD_CU,
        "k : k * p.output_volume",
        "k : k * static_cast<int>(p.output_volume)",
        *(WGRAD_CU, WGRAD, SIMT),
    ),
    cut(
        "weight_row",
        WGRAD_CU,
        "static_cast<int64_t>(k) * columns",
        "k * columns",
        *(WGRAD_CU, WGRAD, SIMT),
    ),
    cut(
        "offset_of_direct",
        "cuda/indexing.cuh",
        "return n * image_stride + ",
        "return static_cast<int>(n * image_stride) + ",
        *(DIRECT, INPUT_AND_OUTPUT, "direct"),
    ),
    cut(
        "thread_of_the_grid",
        "cuda/indexing.cuh",
        "return static_cast<int64_t>(blockIdx.x) * blockDim.x",
        "return blockIdx.x * blockDim.x",
        *(DIRECT, INPUT_AND_OUTPUT, "direct"),
    ),
    cut(
        "weight_of_direct_wgrad",
        "cuda/conv/direct.cuh",
        "store_global(weight + index,",
        "store_global(weight + static_cast<int>(index),",
        *(DIRECT, WGRAD, "direct"),
    ),
    cut(
        "bias_gradient",
        "cuda/conv/bias_grad.cu",
        "load_as_accumulator(grad_output + offset)",
        "load_as_accumulator(grad_output + static_cast<int>(offset))",
        *("cuda/conv/bias_grad.cu", WGRAD, "bias_grad"),
    ),
    cut(
        "index_of_the_maximum",
        MAX_POOL,
        "int64_t best_index = -1;",
        "int best_index = -1;",
        *(MAX_POOL, POOL, "max_pool_forward"),
    ),
    cut(
        "own_index",
        MAX_POOL,
        "const int64_t own_index =",
        "const int own_index =",
        *(MAX_POOL, POOL, "max_pool_backward"),
    ),
    cut(
        "saved_index",
        MAX_POOL,
        "const int64_t index = load_global_readonly",
        "const int index = load_global_readonly",
        *(MAX_POOL, POOL, "max_pool_gather"),
    ),
]


@pytest.mark.parametrize("mutant", CUTS, ids=lambda mutant: mutant.name)
def test_an_offset_cut_to_32_bits_is_caught(mutant, tmp_path):
    mutant.write(tmp_path)
    sick = run(
        cpp_build.build("fast", overlay=tmp_path, mutated=mutant.sources),
        *("--arch", mutant.arch, "--kernel", mutant.kernel, mutant.problem),
    )
    assert sick.returncode == 1, f"nobody noticed:\n{sick.stdout}{sick.stderr}"
    assert f"FAILED run_large --arch {mutant.arch}" in sick.stdout, sick.stdout
