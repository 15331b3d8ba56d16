"""CUDA's Winograd: the order of patches in shared memory, the turned filter, the ragged edge."""

from mutants import CONV, of

SOURCE, FILTER = f"{CONV}/winograd.cu", f"{CONV}/winograd_filter.cu"
KERNEL = "winograd_64x32x8"

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
        ("winograd_turned_filter", FILTER, "forward ? tap_stride : -tap_stride", "tap_stride"),
    ),
]
