"""Windows, divisors and offsets of average pooling."""

from mutants import AVG_POOL, GLOBAL_AVG_POOL, STRIDED_AXIS, VECTORS, of

UNEVEN = "n2c3h9w8r3s2uh2uw2ph1pw1 avgpool"
EXCLUDED = "n2c3h9w8r3s3u2p1 avgpool"
DILATED = "n1c3h10w11r3s3u2p2l3 avgpool"
WIDE = "n2c8h5w6r3s3u2p1 avgpool"
ADAPTIVE = "n2c3h9w7r4s5 adaptive_avgpool"

BOUNDS = [
    *of(
        "bound off by one",
        *(AVG_POOL, UNEVEN, "avg_pool_forward"),
        (
            "avg_first_tap",
            STRIDED_AXIS,
            "by_dilation.divide(-start + dilation - 1)",
            "by_dilation.divide(-start - 1)",
        ),
        ("avg_last_tap", STRIDED_AXIS, "min(taps, by_dilation", "min(taps - 1, by_dilation"),
        (
            "avg_taps_past_the_input",
            STRIDED_AXIS,
            "end - start + dilation - 1",
            "end - start + dilation",
        ),
        ("avg_last_output", AVG_POOL, "p.n * p.y.image_stride", "p.n * p.y.image_stride + 1"),
    ),
    *of(
        "bound off by one",
        *(AVG_POOL, UNEVEN.replace("avgpool", "avgpool_backward"), "avg_pool_backward"),
        ("avg_first_window", STRIDED_AXIS, "begin + stride - 1)", "begin + stride)"),
        ("avg_last_window", STRIDED_AXIS, "by_stride.divide(reach) + 1", "by_stride.divide(reach)"),
        ("avg_span_of_a_window", STRIDED_AXIS, "reach - footprint + 1;", "reach - footprint + 2;"),
    ),
    *of(
        "bound off by one",
        *(AVG_POOL, ADAPTIVE, "avg_pool_forward"),
        ("adaptive_end", AVG_POOL, "(o + 1) * size + windows - 1", "(o + 1) * size"),
        ("adaptive_begin", AVG_POOL, "divide(o * size)", "divide(o * size + windows - 1)"),
    ),
    *of(
        "bound off by one",
        *(AVG_POOL, ADAPTIVE.replace("avgpool", "avgpool_backward"), "avg_pool_backward"),
        ("adaptive_last_window", AVG_POOL, "(i + 1) * windows + size - 1", "(i + 1) * windows"),
    ),
]

COUNTS = [
    *of(
        "stride, offset or tap",
        *(AVG_POOL, f"{EXCLUDED} exclude_pad", "avg_pool_forward"),
        ("avg_counts_padding", AVG_POOL, "include_pad ? taps", "true ? taps"),
        ("avg_count_of_an_axis", AVG_POOL, "h.count * w.count", "h.count * h.count"),
    ),
    *of(
        "stride, offset or tap",
        *(AVG_POOL, f"{EXCLUDED} ceil", "avg_pool_forward"),
        ("avg_counts_beyond_padding", AVG_POOL, "(start, size + pad)", "(start, size + 2 * pad)"),
    ),
    *of(
        "stride, offset or tap",
        *(AVG_POOL, f"{EXCLUDED}_backward exclude_pad", "avg_pool_backward"),
        ("avg_stale_divisor", AVG_POOL, "if (counted != divisor)", "if (divisor == 0)"),
        ("avg_rough_reciprocal", AVG_POOL, "step < 4; ++step", "step < 1; ++step"),
    ),
    *of(
        "stride, offset or tap",
        *(AVG_POOL, DILATED, "avg_pool_forward"),
        ("avg_step_of_the_taps", AVG_POOL, "int64_t{p.h.dilation} * p.x.extent.w", "p.x.extent.w"),
    ),
    *of(
        "stride, offset or tap",
        *(AVG_POOL, f"{DILATED}_backward", "avg_pool_backward"),
        ("avg_beside_the_taps", AVG_POOL, "return beside == 0;", "return true;"),
    ),
]

CUTS = of(
    "32-bit offset",
    *(AVG_POOL, "n2c3h50000w50000r2s2p1 avgpool", "avg_pool_forward"),
    (
        "avg_offset_of_a_window",
        AVG_POOL,
        "int64_t offset = first + ",
        "int64_t offset = static_cast<int>(first) + ",
    ),
    program="run_large",
)

WIDE_VECTORS = [
    *of(
        "stride, offset or tap",
        *(AVG_POOL, f"{WIDE} nhwc", "avg_pool_forward_nhwc"),
        ("avg_vectors_of_the_input", AVG_POOL, "p.c / V, p.input", "p.c, p.input"),
        ("avg_sums_of_a_vector", VECTORS, "sums[v] +=", "sums[0] +="),
    ),
    *of(
        "launch",
        *(AVG_POOL, f"{WIDE} nhwc", "avg_pool_forward_nhwc"),
        ("avg_alignment", AVG_POOL, " && aligned(tensors.output, 16)", "", "misaligned"),
    ),
]

GLOBAL = [
    *of(
        "barrier",
        *(GLOBAL_AVG_POOL, "n1c8h5w9r1s1 nhwc adaptive_avgpool", "global_avg_pool"),
        (
            "global_sums_of_a_block",
            GLOBAL_AVG_POOL,
            "  __syncthreads();\n  if (warp != 0 ||",
            "  if (warp != 0 ||",
            "race",
        ),
    ),
    *of(
        "bound off by one",
        *(GLOBAL_AVG_POOL, "n1c8h5w9r1s1 nhwc adaptive_avgpool", "global_avg_pool"),
        (
            "global_sums_of_warps",
            GLOBAL_AVG_POOL,
            "other = 1; other < warps",
            "other = 2; other < warps",
        ),
        (
            "global_pixels",
            GLOBAL_AVG_POOL,
            "pixel = warp; pixel < volume",
            "pixel = warp; pixel <= volume",
        ),
    ),
    *of(
        "stride, offset or tap",
        *(GLOBAL_AVG_POOL, "n2c3h32w33r1s1 adaptive_avgpool", "global_avg_pool"),
        (
            "global_part_of_a_warp",
            GLOBAL_AVG_POOL,
            "pixel = part * 32 + lane",
            "pixel = part + lane",
        ),
    ),
]

AVERAGES = [*BOUNDS, *COUNTS, *CUTS, *WIDE_VECTORS, *GLOBAL]
