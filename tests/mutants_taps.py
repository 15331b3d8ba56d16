"""Tensor cores: the pipeline, the walk through the taps, fragments, the way out."""

from mutants import of

GEMM, PIPELINE = "cuda/conv/implicit_gemm_mma.cuh", "cuda/conv/mma_pipeline.cuh"
TILE = "cuda/conv/mma_tile.cuh"
WALK, EPILOGUE = "cuda/conv/tap_walk.cuh", "cuda/conv/mma_epilogue.cuh"
FPROP, DGRAD = "cuda/conv/fprop_mma.cu", "cuda/conv/dgrad_mma.cu"
KERNEL = "implicit_gemm_mma_64x64x32"
WINDOW = "n1c40h6w7k72r3s3p1 f16 nhwc"  # tails in rows, columns and channels
LONG = "n1c8h20w9k8r7s7u2p6l2 f16 nhwc"  # seven walks, a row of taps each
STRIDED = "n1c16h7w9k40r3s4uh2uw3p1 f16 nhwc dgrad"
POINTWISE = "n1c40h6w7k72r1s1 f16 nhwc"

TAPS = [
    *of(
        "barrier",
        *(FPROP, WINDOW, KERNEL),
        (
            "mma_loop_barrier_of_fprop_deleted",
            *(GEMM, "__syncthreads();  // the next tile", "// the next tile"),
            "race: |has not delivered",
        ),
        (
            "mma_sums_overwrite_tiles",
            *(GEMM, "__syncthreads();  // shared memory is free", "// shared memory is free"),
            "race: ",
        ),
    ),
    *of(
        "barrier",
        *(FPROP, WINDOW, KERNEL),
        (
            "mma_loop_barrier_of_sm_75_deleted",
            *(GEMM, "__syncthreads();  // the next tile", "// the next tile"),
            "race: ",
        ),
        arch="sm_75",
    ),
    *of(
        "tile in registers",
        *(FPROP, WINDOW, KERNEL),
        (
            "mma_lands_in_the_stage_being_read",
            *(GEMM, "(source, shared.stage[next])", "(source, shared.stage[read])"),
        ),
        ("mma_tile_stays_in_registers", PIPELINE, "    source.copy(stage[1]);\n", ""),
        arch="sm_75",
    ),
    *of(
        "wait_group, commit_group",
        *(FPROP, WINDOW, KERNEL),
        (
            "mma_waits_for_one_tile_less",
            *(PIPELINE, "cp_async_wait<stages - 2>();", "cp_async_wait<stages - 1>();"),
            "race: |has not delivered",
        ),
    ),
    *of(
        "fragments exchanged",
        *(FPROP, WINDOW, KERNEL),
        (
            "mma_halves_of_b",
            TILE,
            "depth_chunks == 1 ? 0 : side == Side::a ? i / 2 : i % 2",
            "depth_chunks == 1 ? 0 : i / 2",
        ),
    ),
    *of(
        "mask",
        *(FPROP, WINDOW, KERNEL),
        ("taps_of_the_next_row", WALK, "mask |= along_w << bit", "mask |= along_w << (bit + 1)"),
        ("mma_filters_beyond_the_last", FPROP, "exists ? filters_left : 0", "exists ? 64 : 0"),
        ("mma_channels_of_the_next_tap", WALK, "? plan.tail :", "? plan.tile_k :"),
    ),
    *of(
        "stride, offset or tap",
        *(FPROP, WINDOW, KERNEL),
        (
            "row_of_taps_never_ends",
            WALK,
            "(tap & plan.row_ends) ? plan.row",
            "(tap & plan.row_ends) ? plan.tap",
        ),
        (
            "sums_read_in_order",
            EPILOGUE,
            "four = swapped(row, column / 4 + j)",
            "four = column / 4 + j",
        ),
    ),
    *of(
        "stride, offset or tap",
        *(FPROP, LONG, KERNEL),
        (
            "mma_rows_of_the_next_walk",
            *(FPROP, "first_row * p.dilation.h", "first_row"),
        ),
    ),
    *of(
        "stride, offset or tap",
        *(DGRAD, STRIDED, KERNEL),
        ("mma_step_of_the_filter", DGRAD, "p.w.tap_step * p.c_per_group", "p.c_per_group"),
        (
            "mma_first_filter_of_a_class",
            DGRAD,
            "p.filter_extent.w + w.first_tap;",
            "p.filter_extent.w;",
        ),
    ),
    *of(
        "mask",
        *(DGRAD, STRIDED, KERNEL),
        ("mma_columns_beyond_the_last", DGRAD, "column_exists ? channels : 0", "channels"),
        ("mma_class_rows", DGRAD, "row < p.class_rows &&", "row <= p.class_rows &&"),
    ),
    *of(
        "barrier",
        *(FPROP, WINDOW, KERNEL),
        (
            "slab_overwritten_while_it_is_read",
            *(EPILOGUE, "sync_warp(full_warp);  // the last slab has been read", ""),
            "race: ",
        ),
    ),
    *of(
        "mask",
        *(FPROP, WINDOW, KERNEL),
        ("plain_rows_beyond_the_last", EPILOGUE, "if (row < rows)", "if (row <= rows)"),
    ),
    *of(
        "stride, offset or tap",
        *(FPROP, POINTWISE, KERNEL),
        ("pointwise_pitch", FPROP, "(first_pixel + line) * p.c", "(first_pixel + line) * p.k"),
    ),
    *of(
        "mask",
        *(DGRAD, f"{POINTWISE} dgrad", KERNEL),
        ("pointwise_beyond_the_last", DGRAD, "taps = first_row + line < p.class_rows", "taps = 1"),
    ),
]
