"""The ladder's rungs."""

from mutants import of

FOLDER = "cuda/conv/ladder"
SHARED, VECTORS, COPIES, CORES = (
    f"{FOLDER}/{stem}.cu"
    for stem in ("2_shared_memory", "4_vectors", "5_async_copies", "6_tensor_cores")
)
TAPS = "n2c8h9w8k36r3s3p1 nhwc"  # several K tiles, tails in rows and columns

LADDER = [
    *of(
        "barrier",
        *(SHARED, TAPS, "ladder_2_shared_memory"),
        (
            "rung_2_stores_over_what_is_read",
            SHARED,
            "sum);\n    __syncthreads();",
            "sum);",
            "race: ",
        ),
    ),
    *of(
        "barrier",
        *(COPIES, TAPS, "ladder_5_async_copies"),
        (
            "rung_5_barrier_deleted",
            COPIES,
            "__syncthreads();  // this tile has arrived",
            "// this tile has arrived",
            "race: ",
        ),
    ),
    *of(
        "wait_group, commit_group",
        *(CORES, f"{TAPS} f16", "ladder_6_tensor_cores"),
        (
            "rung_6_waits_for_one_less",
            CORES,
            "cp_async_wait<stages - 2>",
            "cp_async_wait<stages - 1>",
        ),
    ),
    *of(
        "fragments exchanged",
        *(CORES, f"{TAPS} f16", "ladder_6_tensor_cores"),
        ("rung_6_reads_the_other_piece", CORES, "k + lane / 8 % 2", "k + lane / 16"),
        (
            "rung_6_reads_unswizzled",
            CORES,
            "place(warp_m + 16 * i + lane % 16, k + lane / 16)",
            "(warp_m + 16 * i + lane % 16) * 32 + (k + lane / 16) * 8",
        ),
    ),
    *of(
        "mask",
        *(VECTORS, TAPS, "ladder_4_vectors"),
        (
            "rung_4_reads_past_the_filters",
            VECTORS,
            "filter_exists && depth < p.depth",
            "depth < p.depth",
        ),
    ),
]
