"""The tensor-core weight gradient: its pipeline, swizzle, windows and stores."""

from mutants import CONV, of

WGRAD_MMA, LOADER = f"{CONV}/wgrad_mma.cu", f"{CONV}/wgrad_mma_loader.cuh"
TILE = "implicit_gemm_mma_64x64x32"
RAGGED = (WGRAD_MMA, "n3c24h9w10k72r3s2u2p2l2 f16 nhwc wgrad", TILE)
LONG = (WGRAD_MMA, "n1c64h13w13k64r1s1 f16 nhwc wgrad", TILE)
SPLIT = (WGRAD_MMA, "n4c8h18w17k64r3s3p1 bf16 nhwc wgrad", TILE)
VOLUME = (WGRAD_MMA, "n2c8d5h3w5k64t2r3s3pd1ph1pw1ud2 f16 nhwc wgrad", TILE)
GROUPED = (WGRAD_MMA, "n2g2c32h5w5k128r3s3p1 bf16 nhwc wgrad", TILE)

PIPELINE = [
    *of(
        "barrier",
        *LONG,
        (
            "mma_loop_barrier_deleted",
            WGRAD_MMA,
            "__syncthreads();  // the next tile has arrived",
            "// the next tile has arrived",
            "race: ",
        ),
        (
            "mma_first_barrier_deleted",
            WGRAD_MMA,
            "__syncthreads();\n  gemm.load",
            "gemm.load",
            "race: ",
        ),
        (
            "mma_copy_before_the_barrier",
            WGRAD_MMA,
            "    cp_async_wait<stages - 2>();\n    __syncthreads();",
            "    copy_next(shared.stage[read]);\n"
            "    cp_async_wait<stages - 1>();\n    __syncthreads();",
            "race: ",
        ),
    ),
    *of(
        "wait_group, commit_group",
        *LONG,
        ("mma_wait_deleted", WGRAD_MMA, "    cp_async_wait<stages - 2>();\n", ""),
        (
            "mma_wait_leaves_one_group_more",
            *(WGRAD_MMA, "    cp_async_wait<stages - 2>();", "    cp_async_wait<stages - 1>();"),
            "a wait_group is missing",
        ),
        (
            "mma_first_wait_leaves_one_group_more",
            *(WGRAD_MMA, "  cp_async_wait<stages - 1>();", "  cp_async_wait<stages>();"),
            "a wait_group is missing",
        ),
        ("mma_commit_deleted", WGRAD_MMA, "    cp_async_commit();\n", ""),
        (
            "mma_ends_without_a_wait",
            *(WGRAD_MMA, "cp_async_wait<0>();", ""),
            "never waited for",
        ),
        ("mma_ring_stands_still", WGRAD_MMA, "    read = next;\n", ""),
    ),
]

FRAGMENTS = of(
    "fragments exchanged",
    *RAGGED,
    ("mma_columns_exchanged", WGRAD_MMA, "{two[0], two[1]}", "{two[0], two[2]}"),
    (
        "mma_a_not_transposed",
        WGRAD_MMA,
        "to.a[i] = ldmatrix_transposed<4>",
        "to.a[i] = ldmatrix<4>",
    ),
    ("mma_a_swizzle", WGRAD_MMA, "(chunk_a ^ (2 * i))", "(chunk_a + 2 * i)"),
    ("mma_b_row", WGRAD_MMA, "(row + matrix % 2 * 8) * n", "(row + matrix / 2 * 8) * n"),
    ("mma_store_exchange", WGRAD_MMA, "bit <= 2; bit *= 2", "bit <= 1; bit *= 2"),
)

MASKS = [
    *of(
        "zero-fill",
        *RAGGED,
        ("mma_reads_padding", LOADER, "from_, valid)", "from_, left_ > j * Rows::step)"),
        (
            "mma_reads_past_the_gradient",
            LOADER,
            "at_, left_ > j * Rows::step)",
            "at_, true)",
        ),
    ),
    *of(
        "mask",
        *RAGGED,
        ("mma_filters_of_a_group", LOADER, "k < k_per_group ? count", "true ? count"),
        ("mma_columns_of_the_input", LOADER, "column < windows.elements ? count", "true ? count"),
        (
            "mma_weight_row",
            WGRAD_MMA,
            "if (k < p.k_per_group && column < columns)\n        store_global(p.weight",
            "if (column < columns)\n        store_global(p.weight",
            "out of the bounds",
        ),
    ),
    *of(
        "mask",
        *SPLIT,
        (
            "mma_column_of_a_part",
            WGRAD_MMA,
            "if (k < p.k_per_group && column < columns)\n          store_global(part",
            "if (k < p.k_per_group)\n          store_global(part",
        ),
    ),
]

STEPS = [
    *of(
        "stride, offset or tap",
        *RAGGED,
        (
            "mma_next_row",
            LOADER,
            "next - wrap[axis] * size[axis]",
            "next - step[axis] * size[axis]",
        ),
        ("mma_window_wraps", LOADER, "at_[axis] -= steps_.wrap[axis];", ""),
        ("mma_window_carries", LOADER, "at_[axis - 1] += steps_.stride[axis - 1]", ""),
        ("mma_end_of_a_row", LOADER, "at_[axis] >= limit_[axis]", "at_[axis] > limit_[axis]"),
        ("mma_tap", LOADER, "pixel.offset + tap.offset", "pixel.offset"),
        ("mma_limit_of_a_tap", LOADER, "+ tap_at[axis] - pad[axis]", "- pad[axis]"),
    ),
    *of(
        "stride, offset or tap",
        *VOLUME,
        ("mma_planes", WGRAD_MMA, "if (problem.planar()) launch", "launch"),
        ("mma_next_image", LOADER, "* size[axis - 1] : image", "* size[axis - 1] : size[0]"),
    ),
    *of(
        "stride, offset or tap",
        *GROUPED,
        ("mma_group_of_the_gradient", WGRAD_MMA, "+ group * p.k_per_group, p.k", ", p.k"),
        ("mma_group_of_the_input", WGRAD_MMA, "p.input + group * p.c_per_group", "p.input"),
        ("mma_group_of_the_weight", WGRAD_MMA, "blockIdx.z} * p.k_per_group", "blockIdx.z}"),
    ),
    *of(
        "stride, offset or tap",
        *SPLIT,
        ("mma_part_of_the_depth", WGRAD_MMA, "= part * p.depth_per_part;", "= 0;"),
        ("mma_part_of_the_workspace", WGRAD_MMA, "blockIdx.y * p.weight_elements + row", "row"),
    ),
]

WGRAD_MMA_BUGS = [*PIPELINE, *FRAGMENTS, *MASKS, *STEPS]
