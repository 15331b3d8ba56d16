"""Depthwise convolutions: staged weights, strips, rows of vectors, sums of blocks."""

from mutants import of

PIXELS, PLANES, WGRAD = (f"cuda/conv/depthwise_{stem}.cu" for stem in ("pixels", "planes", "wgrad"))
VECTORS = "n1g16c16h5w9k16r3s3p1 f16 nhwc"
STAGED = "stage_weights(p, weights, channel, p.lanes * vector);\n  __syncthreads();"
PART = "p.count);\n    for (int i = begin + part;"
SHARED = "all.store(thread, tap, sums[tap]);\n  __syncthreads();"

DEPTHWISE = [
    *of(
        "barrier",
        *(PIXELS, VECTORS, "depthwise_vec8"),
        ("weights_not_awaited", PIXELS, STAGED, STAGED.replace("\n  __syncthreads();", ""), "race"),
    ),
    *of(
        "barrier",
        *(WGRAD, f"{VECTORS} wgrad", "depthwise_vec8"),
        ("sums_not_awaited", WGRAD, SHARED, SHARED.replace("\n  __syncthreads();", ""), "race"),
    ),
    *of(
        "mask",
        *(PIXELS, VECTORS, "depthwise_vec8"),
        (
            "depthwise_reads_past_the_row",
            *(PIXELS, "valid && inside(at, p.w.source_extent)", "valid"),
        ),
    ),
    *of(
        "mask",
        *(PLANES, "n1g3c3h4w16k3r3s3p1", "depthwise_vec4"),
        ("vector_past_the_row", PLANES, "valid && inside(first + v * vector,", "inside(first,"),
    ),
    *of(
        "bound off by one",
        *(PLANES, "n1g3c3h5w7k6r3s3p1", "depthwise"),
        ("strip_past_the_plane", PLANES, "p.next_row < at.h.count", "p.next_row <= at.h.count"),
    ),
    *of(
        "bound off by one",
        *(WGRAD, "n3g8c8h20w35k8r3s3p1 nhwc wgrad", "depthwise_vec4"),
        ("part_of_a_block_lost", WGRAD, "other < p.parts;", "other < p.parts - 1;"),
        ("parts_overlap", WGRAD, PART, PART.replace("p.count);", "p.count) + 1;")),
    ),
    *of(
        "stride, offset or tap",
        *(PIXELS, f"{VECTORS} dgrad", "depthwise_vec8"),
        (
            "depthwise_filter_forwards",
            *(PIXELS, "tap_step, lane, weight[s]", "tap_step * p.w.tap_step, lane, weight[s]"),
        ),
    ),
    *of(
        "stride, offset or tap",
        *(PLANES, "n1g3c3h4w16k3r1s4pl3pr0", "depthwise_vec4"),
        ("halo_shifted", PLANES, "i * step + e - halo;", "i * step + e;"),
    ),
    *of(
        "stride, offset or tap",
        *(WGRAD, "n1g3c3h5w7k6r3s5p1 wgrad nchw", "depthwise"),
        ("wrong_fours_of_taps", WGRAD, "first_s = four * taps;", "first_s = four;"),
        (
            "wrong_channel_of_a_filter",
            WGRAD,
            "p.multiplier.divide(filter);\n  const int begin",
            "filter;\n  const int begin",
        ),
    ),
]
