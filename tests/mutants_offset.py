"""Offsets cut to 32 bits; run on tensors of more than 2^31 elements."""

from mutants import (
    BIAS_GRAD,
    DGRAD,
    DIRECT,
    DIRECT_CUH,
    EPILOGUE,
    FPROP,
    GATHER,
    INDEXING,
    POOL,
    SIMT,
    WGRAD,
    Mutant,
)


def cut(name: str, file: str, old: str, new: str, source: str, problem: str, kernel: str) -> Mutant:
    """An offset that is cut to 32 bits."""
    return Mutant(
        *("32-bit offset", f"{name}_in_32_bits", file, old, new, source, problem, kernel),
        report="FAILED run_large --arch sm_80",
        program="run_large",
    )


LARGE = "n2c8h50000w50000k8r3s3u2p1"  # input and output
LARGE_WEIGHT = "n1c1028h4w4k2100004r1"
LARGE_WGRAD = "n2c528388h64w64k528388r1 wgrad"
LARGE_POOL = "n2c3h50000w50000r3s3p1 maxpool"
CUTS = [
    cut(
        "gathered_image",
        GATHER,
        "image * image_stride + ",
        "image * static_cast<int>(image_stride) + ",
        *(FPROP, LARGE, SIMT),
    ),
    cut(
        "gathered_channel",
        GATHER,
        "channel * channel_stride + ",
        "channel * static_cast<int>(channel_stride) + ",
        *(FPROP, LARGE, SIMT),
    ),
    cut(
        "gathered_pixel",
        GATHER,
        "const int64_t pixel = (static_cast<int64_t>(at.d) * extent.h + at.h)",
        "const int pixel = (at.d * extent.h + at.h)",
        *(FPROP, LARGE, SIMT),
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
        *(FPROP, LARGE, SIMT),
    ),
    cut(
        "epilogue_column",
        EPILOGUE,
        "n * output.column_stride",
        "n * static_cast<int>(output.column_stride)",
        *(FPROP, LARGE, SIMT),
    ),
    cut(
        "epilogue_row",
        EPILOGUE,
        "const int64_t row = output",
        "const int row = output",
        *(DGRAD, f"{LARGE} dgrad", SIMT),
    ),
    cut(
        "input_position",
        DGRAD,
        "(static_cast<int64_t>(pixel.d) * p.input_extent.h + pixel.h) * p.input_extent.w",
        "(pixel.d * p.input_extent.h + pixel.h) * p.input_extent.w",
        *(DGRAD, f"{LARGE} dgrad", SIMT),
    ),
    cut(
        "filter_depth",
        DGRAD,
        "k * p.filter_elements + ",
        "k * static_cast<int>(p.filter_elements) + ",
        *(DGRAD, "n1c2100004h4w4k1028r1 dgrad", SIMT),
    ),
    cut(
        "gradient_row",
        WGRAD,
        "k : k * p.output_volume",
        "k : k * static_cast<int>(p.output_volume)",
        *(WGRAD, LARGE_WGRAD, SIMT),
    ),
    cut(
        "weight_row",
        WGRAD,
        "static_cast<int64_t>(k) * columns",
        "k * columns",
        *(WGRAD, LARGE_WGRAD, SIMT),
    ),
    cut(
        "offset_of_direct",
        INDEXING,
        "return n * image_stride + ",
        "return static_cast<int>(n * image_stride) + ",
        *(DIRECT, LARGE, "direct"),
    ),
    cut(
        "thread_of_the_grid",
        INDEXING,
        "return static_cast<int64_t>(blockIdx.x) * blockDim.x",
        "return blockIdx.x * blockDim.x",
        *(DIRECT, LARGE, "direct"),
    ),
    cut(
        "weight_of_direct_wgrad",
        DIRECT_CUH,
        "store_global(weight + index,",
        "store_global(weight + static_cast<int>(index),",
        *(DIRECT, LARGE_WGRAD, "direct"),
    ),
    cut(
        "bias_gradient",
        BIAS_GRAD,
        "load_as_accumulator(grad_output + offset)",
        "load_as_accumulator(grad_output + static_cast<int>(offset))",
        *(BIAS_GRAD, LARGE_WGRAD, "bias_grad"),
    ),
    cut(
        "index_of_the_maximum",
        POOL,
        "const int64_t first_index =",
        "const int first_index =",
        *(POOL, LARGE_POOL, "max_pool_forward"),
    ),
    cut(
        "own_index",
        POOL,
        "const int64_t own_index =",
        "const int own_index =",
        *(POOL, LARGE_POOL, "max_pool_backward"),
    ),
    cut(
        "saved_index",
        POOL,
        "int64_t index = load_global_readonly",
        "int index = load_global_readonly",
        *(POOL, LARGE_POOL, "max_pool_gather"),
    ),
    cut(
        "index_of_a_tap",
        POOL,
        "int64_t index_of_tap(",
        "int index_of_tap(",
        *(POOL, f"{LARGE_POOL} offsets", "max_pool_gather"),
    ),
]
