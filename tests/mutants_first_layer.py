"""The first layer on tensor cores: rows of the filter, borders, the end of the depth; its weight
gradient: what lanes tell each other of pixels."""

from mutants import CONV, of

SOURCE = f"{CONV}/first_layer.cu"
FIRST = (SOURCE, "n2c3h14w13k40r7s7u2p3 f16 nhwc", "first_layer_128x64x32")
WGRAD = f"{CONV}/first_layer_wgrad.cu"
SEVEN = (WGRAD, "n2c3h14w13k40r7s7u2p3 f16 nhwc wgrad", "first_layer_64x160x32")

FIRST_LAYER = [
    *of(
        "stride, offset or tap",
        *FIRST,
        ("first_rows_of_the_filter", SOURCE, "row * p_.step + along", "row + along"),
        ("first_windows_along_w", SOURCE, ".stride_w = stride.w * c", ".stride_w = stride.w"),
    ),
    *of(
        "mask",
        *FIRST,
        ("first_end_of_the_depth", SOURCE, "depth < depths_[i]", "depths_[i] > 0"),
        ("first_border_along_w", SOURCE, "static_cast<unsigned>(w_[i] + along) <", "0u <"),
    ),
    *of(
        "barrier",
        *SEVEN,
        (
            "first_wgrad_first_pixels_too_early",
            *(WGRAD, "__syncthreads();  // the first tile's", "// the first tile's"),
            "race: ",
        ),
    ),
    *of(
        "mask",
        *SEVEN,
        ("first_wgrad_border_along_h", WGRAD, "(outside(h, params.height) & 0xffffu)", "0u"),
    ),
    *of(
        "stride, offset or tap",
        *SEVEN,
        ("first_wgrad_next_image", WGRAD, "image * params.height + h", "image + h"),
    ),
]
