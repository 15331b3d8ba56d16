"""The layout pass: what it moves, what it fills with zeros, and whose memory that is."""

from mutants import CONV, of

PASS, LAUNCH = f"{CONV}/layout_pass.cu", f"{CONV}/conv_launch.cu"
KERNEL = "implicit_gemm_mma_64x64x32"
# Two tiles of channels, the second with one chunk of six, by two of pixels; in and out.
RAGGED = (PASS, "n2c70h5w13k12r1s1 f16 nchw", KERNEL)
RAGGED_FLOATS = (PASS, "n2c38h5w13k12r1s1 tf32 nchw", "implicit_gemm_mma_64x64x16")
GROUPED = (PASS, "n1g2c40h4w6k40r3s3p1 bf16 nchw dgrad", KERNEL)
PACKED = (PASS, "n1g8c32h5w6k64r3s3p1 f16 nchw", KERNEL)  # groups of four channels in twos
PACKED_WGRAD = (PASS, "n1g8c32h5w6k64r3s3p1 f16 nchw wgrad", KERNEL)
ODD = (PASS, "n2c5h3w4k6r1s1 f16 nhwc", KERNEL)

LAYOUT = [
    *of(
        "barrier",
        *RAGGED,
        (
            "layout_barrier_of_pad_deleted",
            *(PASS, "  __syncthreads();\n  tile.each_padded", "  tile.each_padded"),
            "race: ",
        ),
        (
            "layout_barrier_of_unpad_deleted",
            *(PASS, "  __syncthreads();\n  tile.each_given", "  tile.each_given"),
            "race: ",
        ),
    ),
    *of(
        "zero-fill",
        *ODD,
        (
            "layout_keeps_what_was_there",
            PASS,
            "static_cast<unsigned>(channel + c - first) < count ? values[c] : Bits{0}",
            "values[c]",
        ),
    ),
    *of(
        "mask",
        *RAGGED,
        ("layout_chunks_beyond_the_last", PASS, "if (number < chunks) body", "body"),
        ("layout_pixels_beyond_the_last", PASS, "if (at < length) body", "body", "of the bounds"),
    ),
    *of(
        "stride, offset or tap",
        *RAGGED_FLOATS,
        (
            "layout_moves_halves_of_floats",
            PASS,
            "move.element_bytes == 4",
            "move.element_bytes == 8",
        ),
        ("layout_rows_of_half_the_pixels", PASS, "channel * layout_pixels", "channel * 32"),
    ),
    *of(
        "stride, offset or tap",
        *GROUPED,
        ("layout_group_of_the_workspace", PASS, "group * p.padded_channels + channel", "channel"),
        ("layout_filter_of_a_set", PASS, "set * p.images + image", "padded_image"),
    ),
    *of(
        "stride, offset or tap",
        *PACKED,
        (
            "packed_filters_meet_the_first_group",
            *(PASS, "p.by_block_images.divide(image) * p.channels", "int64_t{0}"),
        ),
        (
            "packed_blocks_of_one_filter",
            *(PASS, "FastDivmod64(move.images / move.blocks)", "FastDivmod64(1)"),
        ),
    ),
    *of(
        "zero-fill",
        *PACKED,
        (
            "packed_channels_before_a_block",
            *(PASS, "static_cast<unsigned>(channel + c - first) < count"),
            "channel + c < first + static_cast<int>(count)",
        ),
    ),
    *of(
        "mask",
        *PACKED_WGRAD,
        (
            "packed_blocks_begin_with_their_eight",
            *(PASS, "channel + tile.together > tile.first", "channel >= tile.first"),
        ),
    ),
    *of(
        "launch",
        *(LAUNCH, "n4c8h18w17k64r3s3p1 bf16 nchw wgrad", KERNEL),
        (
            "layout_pass_and_parts_share_memory",
            *(LAUNCH, "workspace + pass.workspace_bytes", "workspace"),
        ),
        (
            "layout_moves_results_only",
            *(LAUNCH, "prepared.move(LayoutWay::pad, stream);", ""),
        ),
    ),
]
