"""CUDA's Winograd: the order of patches in shared memory, the turned filter, the ragged edge; of
F(4×4) the slices too."""

from mutants import CONV, of

SOURCE, FILTER = f"{CONV}/winograd.cu", f"{CONV}/winograd_filter.cu"
SHARED = f"{CONV}/winograd.cuh"
KERNEL = "winograd_64x32x8"
SOURCE_4X4, KERNEL_4X4 = f"{CONV}/winograd_4x4.cu", "winograd_4x4"

WINOGRAD = [
    *of(
        "barrier",
        SOURCE,
        "n1c9h6w22k65r3s3p1 nhwc",
        KERNEL,
        (
            "winograd_before_the_next_step",
            SOURCE,
            "    sums.multiply(shared);\n    __syncthreads();",
            "    sums.multiply(shared);",
            "race",
        ),
    ),
    *of(
        "mask",
        SOURCE,
        "n1c9h5w7k5r3s3p1 nchw",
        KERNEL,
        ("winograd_last_row", SOURCE, "patch.h + i / 2 < p.out_h", "patch.h < p.out_h"),
    ),
    *of(
        "stride, offset or tap",
        FILTER,
        "n1c9h6w7k5r3s3p1 nchw dgrad",
        KERNEL,
        ("winograd_turned_filter", SHARED, "forward ? along_taps : -along_taps", "along_taps"),
    ),
    *of(
        "mask",
        SOURCE_4X4,
        "n1c3h5w7k5r3s3p1 nchw",
        KERNEL_4X4,
        ("winograd_4x4_last_column", SOURCE_4X4, "column + w < p.w; };", "column < p.w; };"),
    ),
    *of(
        "stride, offset or tap",
        SOURCE_4X4,
        "n1c20h79w83k20r3s3p1 nhwc",
        KERNEL_4X4,
        ("winograd_4x4_second_slice", SOURCE_4X4, "divmod(first + patch,", "divmod(patch,"),
        arch="sm_75",
    ),
    *of(
        "stride, offset or tap",
        SOURCE_4X4,
        "n1c3h6w7k5r3s3p1 nchw dgrad",
        KERNEL_4X4,
        (
            "winograd_4x4_turned_filter",
            SHARED,
            "forward ? along_taps : -along_taps",
            "along_taps",
        ),
    ),
]
