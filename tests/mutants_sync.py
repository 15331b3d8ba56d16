"""Barriers, asynchronous copies, fragments and launches."""

from mutants import (
    BIAS_GRAD,
    FPROP,
    GEMM,
    LOADER,
    RAGGED,
    SIMT,
    SIMT_VEC4,
    UNEVEN,
    of,
)

BARRIERS = [
    *of(
        "barrier",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "pipeline_barrier_deleted",
            *(GEMM, "__syncthreads();  // this tile has arrived", "// this tile has arrived"),
            r"race: .* are not ordered(.|\n)*no __syncthreads lies between them",
        ),
        (
            "copy_before_the_barrier",
            GEMM,
            "    __syncthreads();  // this tile has arrived for all, and nobody reads "
            "the one before any more\n"
            "    Gemm::multiply_tile(shared.stage[read], sums, "
            "[&] { copy_next(tile + stages - 1); });",
            "    copy_next(tile + stages - 1);\n    __syncthreads();\n"
            "    Gemm::multiply_tile(shared.stage[read], sums, [] {});",
            "race: ",
        ),
    ),
    *of(
        "barrier",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "first_barrier_of_sm_75_deleted",
            GEMM,
            "b.store(shared.stage[0].b);\n  __syncthreads();",
            "b.store(shared.stage[0].b);",
            "race: ",
        ),
        (
            "loop_barrier_of_sm_75_deleted",
            GEMM,
            "b.store(shared.stage[read].b);\n    __syncthreads();",
            "b.store(shared.stage[read].b);",
            "race: ",
        ),
        (
            "barrier_under_a_condition",
            GEMM,
            "b.store(shared.stage[read].b);\n    __syncthreads();",
            "b.store(shared.stage[read].b);\n    if (threadIdx.x < 32 || more) __syncthreads();",
            "divergent barrier",
        ),
        arch="sm_75",
    ),
    *of(
        "barrier",
        *(BIAS_GRAD, "n2c4h17w17k3r1 wgrad", "bias_grad"),
        ("reduction_barrier_deleted", BIAS_GRAD, "__syncthreads();", "", "race: "),
    ),
]

COPIES = of(
    "wait_group, commit_group",
    *(FPROP, RAGGED, SIMT_VEC4),
    (
        "wait_deleted",
        *(GEMM, "cp_async_wait<stages - 2>();", ""),
        "a wait_group is missing",
    ),
    (
        "wait_leaves_one_group_more",
        *(GEMM, "cp_async_wait<stages - 2>();", "cp_async_wait<stages - 1>();"),
        "a wait_group is missing",
    ),
    ("commit_deleted", GEMM, "cp_async_commit();  //", "//"),
    (
        "commit_only_where_copies_are",
        GEMM,
        "cp_async_commit();  // an empty group too",
        "if (tile < tiles) cp_async_commit();  // no empty group",
        "a wait_group is missing",
    ),
    ("ring_read_stands_still", GEMM, "read = read + 1 == stages ? 0 : read + 1;", ""),
    (
        "one_tile_copied_too_few",
        *(GEMM, "copy_next(tile + stages - 1);", "copy_next(tile + stages);"),
    ),
)

ZERO_FILL = [
    *of(
        "zero-fill",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "copy_16_reads_padding",
            LOADER,
            "cp_async_16(tile + place(i, j), from.address, from.valid)",
            "cp_async_16(tile + place(i, j), from.address, true)",
        ),
    ),
    *of(
        "zero-fill",
        *(FPROP, UNEVEN, SIMT),
        (
            "copy_4_reads_padding",
            LOADER,
            "cp_async_4(tile + place(i, j), from.address, from.valid)",
            "cp_async_4(tile + place(i, j), from.address, true)",
        ),
    ),
    *of(
        "zero-fill",
        *(FPROP, UNEVEN, SIMT),
        (
            "load_reads_padding",
            *(LOADER, "load_global_or_zero<Piece>(from.address, from.valid)"),
            "load_global_or_zero<Piece>(from.address, true)",
        ),
        arch="sm_75",
    ),
]

FRAGMENTS = of(
    "fragments exchanged",
    *(FPROP, RAGGED, SIMT_VEC4),
    (
        "rows_of_another_thread",
        GEMM,
        "(static_cast<int>(threadIdx.x) / threads_n, i)",
        "(static_cast<int>(threadIdx.x) % threads_m, i)",
    ),
    (
        "depths_of_a_slab",
        *(GEMM, "slab_a[i][kk] = four[kk];", "slab_a[i][kk] = four[kk ^ 1];"),
    ),
)

LAUNCHES = [
    *of(
        "launch",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "too_little_shared_memory",
            FPROP,
            "                 plan.shared_bytes, stream, params);",
            "                 plan.shared_bytes - 128, stream, params);",
            "SharedStorage has",
        ),
        (
            "too_many_threads",
            FPROP,
            "dim3(plan.threads),",
            "dim3(plan.threads * 2),",
        ),
    ),
    *of(
        "launch",
        *(BIAS_GRAD, "n2c4h17w17k33r1 wgrad nhwc", "bias_grad"),
        ("last_block", BIAS_GRAD, "(problem.k + 31) / 32", "problem.k / 32"),
    ),
]

SYNC = [*BARRIERS, *COPIES, *ZERO_FILL, *FRAGMENTS, *LAUNCHES]
