"""Masks, bounds, strides and taps."""

from mutants import (
    BIAS_GRAD,
    CLASSES,
    DGRAD,
    DIRECT,
    DIRECT_CUH,
    EPILOGUE,
    FPROP,
    GATHER,
    GEMM,
    INDEXING,
    LOADER,
    POOL,
    RAGGED,
    REDUCE,
    SIMT,
    SIMT_VEC4,
    STRIDED_AXIS,
    UNEVEN,
    UNFOLD,
    WGRAD,
    of,
)

STRIDED = "n2c4h11w10k9r3s3u2p1 dgrad nchw"
SPLIT = "n4c5h16w17k6r3s3p1 wgrad nchw"
DIRECT_UNEVEN = "n1c3h6w5k4r4s3pt1pb2pl2pr1uh2uw1lh1lw2"
POOL_WIDE = "n2c8h5w6r3s3u2p1 maxpool"
POOL_UNEVEN = "n2c3h9w8r3s2uh2uw2ph1pw1 maxpool"
POOL_PADDED = "n2c3h9w8r3s3uw2p1lw2 maxpool offsets"  # and with columns between the taps

MASKS = [
    *of(
        "mask",
        *(UNFOLD, "n2c3h9w8r3s2u2p1 unfold", "im2col"),
        ("column_past_the_image", UNFOLD, "w < g.image.extent.w", "w <= g.image.extent.w"),
    ),
    *of(
        "mask",
        *(FPROP, UNEVEN, SIMT),
        *(
            (
                f"gather_reads_past_{axis}",
                GATHER,
                f"(a.{axis} + b.{axis}) < static_cast<unsigned>(extent.{axis})",
                f"(a.{axis} + b.{axis}) <= static_cast<unsigned>(extent.{axis})",
            )
            for axis in "hw"
        ),
        ("epilogue_column", EPILOGUE, "n >= output.columns", "n > output.columns", "out of the"),
        ("filter_row_of_fprop", FPROP, "k < filters ? k", "k <= filters ? k", "out of the bounds"),
        ("filter_depth", FPROP, "element < elements", "element <= elements", "out of the bounds"),
        (
            "output_pixel",
            *(FPROP, "if (pixel >= p.windows.pixels) return -1;"),
            "if (pixel > p.windows.pixels) return -1;",
            "out of the bounds of 'output'",
        ),
    ),
    *of(
        "mask",
        *(FPROP, "n1c2d4h5w4k5t3r3s3p1 nchw", SIMT),
        (
            "gather_reads_past_d",
            GATHER,
            "(a.d + b.d) < static_cast<unsigned>(extent.d)",
            "(a.d + b.d) <= static_cast<unsigned>(extent.d)",
        ),
    ),
    *of(
        "mask",
        *(DGRAD, STRIDED, SIMT),
        ("class_row", DGRAD, "row < p.class_rows", "row <= p.class_rows"),
        ("class_height", DGRAD, "pixel.h < p.input_extent.h", "pixel.h <= p.input_extent.h"),
        ("dgrad_depth", DGRAD, "index < pixels.depth ? offset : -1", "offset"),
    ),
    *of(
        "mask",
        *(WGRAD, "n3c5h5w7k6r3s3p1 wgrad nchw", SIMT),
        (
            "gradient_pixel",
            WGRAD,
            "return pixel < p.windows.pixels ? image * p.k * volume + "
            "(pixel - image * volume) : -1;",
            "return image * p.k * volume + (pixel - image * volume);",
        ),
        ("weight_row", WGRAD, "return k < rows ?", "return k <= rows ?", "out of the bounds"),
    ),
    *of(
        "mask",
        *(DIRECT, "n2c4h5w5k3r1 wgrad", "direct"),
        (
            "shuffle_mask_without_the_last_lane",
            DIRECT_CUH,
            "warp_sum(full_warp, sum)",
            "warp_sum(0x7fffffffu, sum)",
            "the mask does not name the calling lane",
        ),
        (
            "collective_under_a_condition",
            DIRECT_CUH,
            "sum = warp_sum(full_warp, sum);\n    if (lane == 0)",
            "if (lane < 16) sum = warp_sum(full_warp, sum);\n    if (lane == 0)",
        ),
    ),
]

BOUNDS = [
    *of(
        "bound off by one",
        *(UNFOLD, "n1c2h10w10r2s2u3 fold", "col2im"),
        ("window_past_the_last", UNFOLD, "window < windows ?", "window <= windows ?"),
    ),
    *of(
        "bound off by one",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "last_tile_of_the_depth",
            *(GEMM, "(k_end - k_begin + tile_k - 1) / tile_k", "(k_end - k_begin - 1) / tile_k"),
        ),
        (
            "tiles_of_the_columns",
            *("cuda/conv/tile_position.cuh", "(columns + tile_n - 1) / tile_n", "columns / tile_n"),
        ),
    ),
    *of(
        "bound off by one",
        *(FPROP, "n1c3h9w8k9r3s3p1 nchw", SIMT),
        ("pixels", GATHER, "index < pixels)", "index <= pixels)"),
        ("elements", GATHER, "index < elements)", "index <= elements)"),
    ),
    *of(
        "bound off by one",
        *(REDUCE, "n4c8h20w20k8r1s1 wgrad nhwc", SIMT_VEC4),
        ("last_part", REDUCE, "part < parts", "part < parts - 1"),
        (
            "elements_of_the_weight",
            REDUCE,
            "if (first >= elements) return;",
            "",
            "out of the bounds",
        ),
    ),
    *of(
        "bound off by one",
        *(WGRAD, SPLIT, SIMT),
        (
            "pixels_of_a_part",
            *(WGRAD, "(pixels_per_part + k - 1) / k * k", "(pixels_per_part - 1) / k * k"),
        ),
    ),
    *of(
        "bound off by one",
        *(BIAS_GRAD, "n2c4h17w17k33r1 wgrad nhwc", "bias_grad"),
        ("channel", BIAS_GRAD, "if (channel < y.channels)", "if (channel <= y.channels)"),
        ("last_warp", BIAS_GRAD, "i < warps; ++i", "i < warps - 1; ++i"),
    ),
    *of(
        "bound off by one",
        *(DIRECT, DIRECT_UNEVEN, "direct"),
        ("direct_height", DIRECT_CUH, "h >= p.x.extent.h) continue", "h > p.x.extent.h) continue"),
        ("direct_padding", DIRECT_CUH, "if (w < 0 || w >=", "if (w < -1 || w >="),
    ),
    *of(
        "bound off by one",
        *(DIRECT, f"{DIRECT_UNEVEN} dgrad", "direct"),
        ("direct_first_output", DIRECT_CUH, "if (distance < 0)", "if (distance <= 0)"),
        ("direct_last_output", DIRECT_CUH, "&& out < size", "&& out < size - 1"),
    ),
    *of(
        "bound off by one",
        *(POOL, POOL_UNEVEN, "max_pool_forward"),
        (
            "first_tap",
            STRIDED_AXIS,
            "by_dilation.divide(-start + dilation - 1)",
            "by_dilation.divide(-start - 1)",
        ),
        ("last_tap", STRIDED_AXIS, "min(taps, by_dilation", "min(taps - 1, by_dilation"),
        (
            "taps_past_the_input",
            STRIDED_AXIS,
            "end - start + dilation - 1",
            "end - start + dilation",
        ),
    ),
    *of(
        "bound off by one",
        *(POOL, f"{POOL_UNEVEN}_backward", "max_pool_backward"),
        ("first_window", STRIDED_AXIS, "begin + stride - 1)", "begin + stride)"),
        ("last_window", STRIDED_AXIS, "min(windows, by_stride", "min(windows - 1, by_stride"),
        ("span_of_a_window", STRIDED_AXIS, "reach - footprint + 1;", "reach - footprint + 2;"),
    ),
]

STRIDES = [
    *of(
        "stride, offset or tap",
        *(UNFOLD, "n2c3h9w8r3s2uh1uw2lh2lw3 unfold", "im2col"),
        ("column_dilation", UNFOLD, "s * g.dilation.w - g.pad.w", "s * g.dilation.h - g.pad.w"),
        ("row_of_the_columns", UNFOLD, "g.by_r.divmod(g.by_s", "g.by_s.divmod(g.by_s"),
    ),
    *of(
        "stride, offset or tap",
        *(UNFOLD, "n2c3h9w8r3s2u2p1 fold", "col2im"),
        ("between_two_windows", UNFOLD, "beside == 0 && ", ""),
    ),
    *of(
        "stride, offset or tap",
        *(FPROP, "n2c4h11w12k8r3s2uh2uw3lh1lw2pt1pl2 nchw", SIMT),
        ("window_stride", GATHER, "at.w * stride.w - pad.w", "at.w * stride.h - pad.w"),
        ("window_padding", GATHER, "at.h * stride.h - pad.h", "at.h * stride.h - pad.w"),
        ("tap_dilation", GATHER, "at.w * dilation.w}", "at.w * dilation.h}"),
        ("depth_shifted", LOADER, "operand_.depth(k_ + j", "operand_.depth(k_ + 1 + j"),
        ("tile_of_the_depth", LOADER, "k_ += tile_k;", "k_ += tile_k - 1;"),
    ),
    *of(
        "stride, offset or tap",
        *(FPROP, RAGGED, SIMT_VEC4),
        (
            "shared_rows_overlap",
            *(LOADER, "row * tile_k + (k ^ key)", "row * (tile_k - 4) + k"),
            "race: |has not delivered",
        ),
        (
            "shared_rows_too_far_apart",
            *(LOADER, "row * tile_k + (k ^ key)", "row * (tile_k + 8) + k"),
            "race: |has not delivered|out of the bounds of shared memory|red zone",
        ),
        (
            "shared_rows_swizzled_on_one_side",
            *(
                GEMM,
                "k_major_place<float, tile_k>(row(i), k)",
                "k_major_place<float, tile_k>(row(i) & ~4, k)",
            ),
        ),
        ("stage_written_twice", GEMM, "write = write + 1 == stages ? 0 : write + 1;", ""),
    ),
    *of(
        "stride, offset or tap",
        *(DGRAD, "n2c4h11w12k8r4s5uh2uw3lh3lw1p2 dgrad nchw", SIMT),
        ("first_tap_of_a_class", CLASSES, "% axis.stride != 0)", "% axis.stride != 1)"),
        ("taps_of_a_class", CLASSES, "/ axis.tap_step + 1;", "/ axis.tap_step;"),
        ("step_of_the_output", DGRAD, "-tap.h * pixels.p.h.output_step", "-tap.h"),
        ("step_of_the_tap", DGRAD, "tap.w * p.w.tap_step", "tap.w"),
    ),
    *of(
        "stride, offset or tap",
        *(WGRAD, "n4c8g2h16w17k8r3s3p1 wgrad nchw", SIMT),
        (
            "group_of_the_input",
            WGRAD,
            "group * p.c_per_group * p.windows.source",
            "0 * p.windows.source",
        ),
        ("part_of_the_workspace", WGRAD, "p.weight + part * p.weight_elements", "p.weight"),
    ),
    *of(
        "stride, offset or tap",
        *(DIRECT, "n1g2c4h6w5k6r2s3p1", "direct"),
        (
            "direct_group",
            DIRECT_CUH,
            "divide(at.c) * p.c_per_group;\n    acc",
            "divide(0);\n    acc",
        ),
        ("channel_stride", INDEXING, "c * channel_stride +", "c +"),
    ),
    *of(
        "stride, offset or tap",
        *(POOL, "n2c3h9w8r2s2uh1uw1lh2lw3 maxpool", "max_pool_forward"),
        ("pool_dilation", POOL, "step = int64_t{p.w.dilation}", "step = int64_t{p.h.dilation}"),
        ("pool_distance", POOL, "offsets ? 1 : p.w.dilation;", "1;"),
        ("pool_tie", POOL, "value > best[v] ||", "value >= best[v] ||"),
    ),
    *of(
        "stride, offset or tap",
        *(POOL, f"{POOL_WIDE} nhwc", "max_pool_forward_nhwc"),
        ("pool_vectors_of_the_input", POOL, "p.c / V, p.input", "p.c, p.input"),
        ("pool_indices_of_a_vector", POOL, "best_at[v] = place;", "best_at[0] = place;"),
    ),
    *of(
        "stride, offset or tap",
        *(POOL, f"{POOL_WIDE}_backward nhwc", "max_pool_backward_nhwc"),
        ("pool_index_of_a_channel", POOL, "index[v] == own", "index[0] == own"),
    ),
    *of(
        "stride, offset or tap",
        *(POOL, POOL_PADDED, "max_pool_forward"),
        ("pool_first_tap_inside", POOL, "p.number(ds.first, hs.first", "p.number(ds.first, 0"),
    ),
    *of(
        "stride, offset or tap",
        *(POOL, POOL_PADDED.replace("maxpool", "maxpool_backward"), "max_pool_backward"),
        ("pool_between_taps", STRIDED_AXIS, "past == 0 ? tap : -1", "tap"),
        ("pool_row_of_taps", POOL, "own = s < 0 ? -1 : row + s;", "own = s < 0 ? -1 : s;"),
    ),
    *of(
        "launch",
        *(POOL, f"{POOL_WIDE} values nhwc", "max_pool_forward_nhwc"),
        ("pool_alignment", POOL, "aligned(tensors.output, bytes) && ", "", "misaligned"),
    ),
]

INDEX = [*MASKS, *BOUNDS, *STRIDES]
