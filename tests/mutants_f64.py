"""float64: fragments of doubles, on tensor cores and without, and its parts of a split depth."""

from mutants import CONV, LOADER, of

GEMM = f"{CONV}/implicit_gemm_f64.cuh"
FPROP, DGRAD, WGRAD = (f"{CONV}/{stem}.cu" for stem in ("fprop", "dgrad", "wgrad"))
KERNEL, VEC2 = "implicit_gemm_f64_64x64x8", "implicit_gemm_f64_64x64x8_vec2"
WINDOW = "n1c10h6w7k72r3s3p1 nhwc f64"  # tails in rows, columns and depth
FMA = {"arch": "sm_75"}

F64 = [
    *of(
        "fragments exchanged",
        *(FPROP, WINDOW, VEC2),
        ("doubles_of_the_next_depth", GEMM, "depth = k + lane_index() % 4;", "depth = k;"),
        (
            "doubles_of_another_block",
            GEMM,
            "warp_row() + 8 * i + line, depth",
            "8 * i + line, depth",
        ),
        ("sums_of_doubles_exchanged", GEMM, "first = sum[0], second", "first = sum[1], second"),
        (
            "columns_of_doubles_apart",
            GEMM,
            "8 * (j / 2) + lane_index() % 4 * 2 + j % 2",
            "8 * (j / 2) + lane_index() % 4 + j % 2 * 4",
        ),
    ),
    *of(
        "fragments exchanged",
        *(FPROP, WINDOW, VEC2),
        (
            "doubles_read_without_the_key",
            GEMM,
            "? k_major_place<double, tile_k>(mn, depth)",
            "? mn * tile_k + depth",
        ),
        **FMA,
    ),
    *of(
        "fragments exchanged",
        *(DGRAD, f"{WINDOW} dgrad", VEC2),
        (
            "doubles_of_the_key_of_another_depth",
            GEMM,
            ": mn_major_place<double, tile_mn>(depth, mn)",
            ": depth * tile_mn + mn",
        ),
    ),
    *of(
        "tile in registers",
        *(DGRAD, f"{WINDOW} dgrad", VEC2),
        ("doubles_multiplied_by_the_first", GEMM, "fma(a[i], b,", "fma(a[0], b,"),
        **FMA,
    ),
    *of(
        "zero-fill",
        *(WGRAD, f"{WINDOW} wgrad".replace("c10", "c9"), KERNEL),
        (
            "single_doubles_always_copied",
            LOADER,
            "cp_async_8(tile + place(i, j), from.address, from.valid)",
            "cp_async_8(tile + place(i, j), from.address, true)",
        ),
    ),
]
