"""Residual, pre-activation and activation of a fused convolution."""

from mutants import DIRECT, DIRECT_CUH, EPILOGUE, FPROP, RAGGED, SIMT, SIMT_VEC4, UNEVEN, of

FUSED = "cuda/conv/conv_bias_act.cuh"
ADDS = "if (residual) sum += load_as_accumulator(residual + at);"

FUSED_OPERATION = [
    *of(
        "fused operation",
        *(FPROP, f"{UNEVEN} relu residual", SIMT),
        ("residual_of_the_neighbour", FUSED, "residual + at)", "residual + at + 1)"),
        ("activation_before_the_residual", FUSED, ADDS, f"sum = activate(activation, sum); {ADDS}"),
        ("rows_that_stay", EPILOGUE, "= sums[m + 1][j]", "= sums[m][j]"),
        ("fused_column", EPILOGUE, "column(j) < output.columns", "column(j) <= output.columns"),
    ),
    *of(
        "fused operation",
        *(FPROP, "n2g2c8h6w6k8r3s3p1 nhwc relu residual", SIMT_VEC4),
        ("residual_of_the_group", FPROP, "return data - p.output;", "return 0;"),
    ),
    *of(
        "fused operation",
        *(FPROP, f"{RAGGED} silu preactivation", SIMT_VEC4),
        (
            "preactivation_after_the_activation",
            *(
                FUSED,
                "preactivation + at, T(sum)",
                "preactivation + at, T(activate(activation, sum))",
            ),
        ),
    ),
    *of(
        "fused operation",
        *(DIRECT, "n1g2c4h6w5k6r2s3p1 f16 relu residual", "direct"),
        ("direct_without_its_epilogue", DIRECT_CUH, "T(finish(index, sum))", "T(sum)"),
    ),
]
