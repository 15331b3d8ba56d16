"""The tensor-core weight gradient: its pipeline, swizzle, windows and stores."""

from mutants import CONV, of

WGRAD_MMA, LOADER = f"{CONV}/wgrad_mma.cu", f"{CONV}/wgrad_mma_loader.cuh"
GEMM_MMA, MMA_PIPELINE = f"{CONV}/implicit_gemm_mma.cuh", f"{CONV}/mma_pipeline.cuh"
MMA_TILE = f"{CONV}/mma_tile.cuh"
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
            *(GEMM_MMA, "__syncthreads();  // the next tile has", "// the next tile has"),
            "race: |has not delivered",
        ),
        (
            "mma_first_barrier_deleted",
            *(GEMM_MMA, "__syncthreads();  // the first tile has", "// the first tile has"),
            "race: |has not delivered",
        ),
    ),
    *of(
        "wait_group, commit_group",
        *LONG,
        (
            "mma_wait_leaves_one_group_more",
            *(MMA_PIPELINE, "cp_async_wait<stages - 2>();", "cp_async_wait<stages - 1>();"),
            "a wait_group is missing",
        ),
        (
            "mma_first_wait_leaves_one_group_more",
            *(MMA_PIPELINE, "cp_async_wait<stages - 1>();", "cp_async_wait<stages>();"),
            "a wait_group is missing",
        ),
        ("mma_commit_deleted", MMA_PIPELINE, "cp_async_commit();", ""),
        ("mma_ends_without_a_wait", MMA_PIPELINE, "cp_async_wait<0>();", ""),
        (
            "mma_refills_one_stage_alone",
            *(GEMM_MMA, "copy(source, shared.stage[read]);", "copy(source, shared.stage[0]);"),
        ),
    ),
]

FRAGMENTS = of(
    "fragments exchanged",
    *RAGGED,
    ("mma_lines_first", MMA_TILE, "Side::a ? i % 2 : i / 2", "Side::b ? i % 2 : i / 2"),
    ("mma_block", MMA_TILE, "(place_ ^ (block * block_mn))", "(place_ + block * block_mn)"),
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
        (
            "mma_weight_row",
            WGRAD_MMA,
            "int rows() const { return p.k_per_group; }",
            "int rows() const { return p.k_per_group + 1; }",
            "out of the bounds",
        ),
    ),
    *of(
        "mask",
        *SPLIT,
        (
            "mma_column_of_a_part",
            WGRAD_MMA,
            "if (row < rows && column < columns)",
            "if (row < rows)",
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
        ("mma_planes", WGRAD_MMA, "if (problem.planar())", "if (true)"),
        ("mma_next_image", LOADER, "* size[axis - 1] : image", "* size[axis - 1] : size[0]"),
    ),
    *of(
        "stride, offset or tap",
        *GROUPED,
        ("mma_group_of_the_gradient", WGRAD_MMA, "+ group * p.k_per_group, p.k", ", p.k"),
        ("mma_group_of_the_input", WGRAD_MMA, "p.input + group * p.c_per_group", "p.input"),
        ("mma_group_of_the_weight", WGRAD_MMA, "= group * p.k_per_group * columns", "= 0"),
    ),
    *of(
        "stride, offset or tap",
        *SPLIT,
        ("mma_part_of_the_depth", WGRAD_MMA, "= part * p.depth_per_part;", "= 0;"),
        ("mma_part_of_the_workspace", WGRAD_MMA, "part * p.weight_elements + first", "first"),
    ),
]

WGRAD_MMA_BUGS = [*PIPELINE, *FRAGMENTS, *MASKS, *STEPS]
