"""float32 as tf32, or as two: rounding, and floats that ldmatrix cannot transpose."""

from mutants import CONV, of

TILE = f"{CONV}/mma_tile.cuh"
FPROP, DGRAD, WGRAD = (f"{CONV}/{stem}_mma.cu" for stem in ("fprop", "dgrad", "wgrad"))
KERNEL = "implicit_gemm_mma_64x64x16"
KERNEL_3X = "implicit_gemm_mma_3xtf32_64x64x16"
SPLIT_WINDOW = "n1c20h6w7k72r3s3p1 nhwc"
WINDOW = f"{SPLIT_WINDOW} tf32"
NEAREST = "fmaf(binade, 0x1p-11f, std::bit_cast<float>(bits))"

TF32 = [
    *of(
        "rounding to tf32",
        *(FPROP, WINDOW, KERNEL),
        ("tf32_truncates", TILE, NEAREST, "std::bit_cast<float>(bits)"),
        ("tf32_rounds_at_three_quarters", TILE, "0x1p-11f", "0x1p-12f"),
    ),
    *of(
        "rounding to tf32",
        *(WGRAD, f"{WINDOW} wgrad", KERNEL),
        (
            "tf32_truncates_what_is_transposed",
            TILE,
            "return to_operand<Element>(loaded)",
            "return loaded",
        ),
    ),
    *of(
        "rounding to tf32",
        *(DGRAD, f"{SPLIT_WINDOW} dgrad", KERNEL_3X),
        (
            "what_is_left_of_a_is_lost",
            TILE,
            "= mma<Mma>(low, b_high[j], parts[j])",
            "= parts[j]",
        ),
    ),
    *of(
        "rounding to tf32",
        *(FPROP, SPLIT_WINDOW, KERNEL_3X),
        (
            "what_is_left_of_b_is_lost",
            TILE,
            "= mma<Mma>(high, b_low[j], parts[j])",
            "= parts[j]",
        ),
    ),
    *of(
        "rounding to tf32",
        *(WGRAD, f"{SPLIT_WINDOW} wgrad", KERNEL_3X),
        (
            "what_is_left_of_the_rounded",
            TILE,
            "std::bit_cast<float>(bits) - std::bit_cast<float>(high)",
            "std::bit_cast<float>(rounded) - std::bit_cast<float>(high)",
        ),
    ),
    *of(
        "fragments exchanged",
        *(DGRAD, f"{WINDOW} dgrad", KERNEL),
        ("floats_of_the_key_of_another_eight", TILE, "(place_ ^ mn % 32)", "(place_ + mn % 32)"),
    ),
    *of(
        "fragments exchanged",
        *(WGRAD, f"{WINDOW} wgrad", KERNEL),
        ("floats_of_the_same_depths", TILE, "+ depth_chunk_of(i) * chunk<Element>;", ";"),
    ),
]
