"""Windows, samples and order of adaptive and fractional max pooling and of unpooling."""

from mutants import WINDOW_POOL, of

ADAPTIVE = "n2c3h9w7r4s5 adaptive_maxpool"
WIDE = "n2c8h9w7r4s5 adaptive_maxpool"
FRACTIONAL = "n2c3h9w10r5s3u2 fractional_maxpool"
UNPOOL = "n2c3h9w8r8s5 max_unpool"

WINDOWS = [
    *of(
        "32-bit offset",
        *(WINDOW_POOL, "n2c3h50000w50000r30000s40000 adaptive_maxpool", "window_max_pool_forward"),
        (
            "adaptive_max_index",
            WINDOW_POOL,
            "int64_t index = (d",
            "int index = (d",
        ),
        program="run_large",
    ),
    *of(
        "bound off by one",
        *(WINDOW_POOL, ADAPTIVE, "window_max_pool_forward"),
        ("adaptive_max_end", WINDOW_POOL, "(o + 1) * size + windows - 1", "(o + 1) * size"),
        (
            "adaptive_max_last_output",
            WINDOW_POOL,
            "p.n * p.y.image_stride",
            "p.n * p.y.image_stride + 1",
        ),
    ),
    *of(
        "bound off by one",
        *(WINDOW_POOL, f"{ADAPTIVE}_backward", "window_max_pool_backward"),
        (
            "adaptive_max_last_window",
            WINDOW_POOL,
            "(i + 1) * windows + size - 1",
            "(i + 1) * windows",
        ),
    ),
    *of(
        "bound off by one",
        *(WINDOW_POOL, f"{FRACTIONAL}_backward", "window_max_pool_backward"),
        (
            "fractional_first_window",
            WINDOW_POOL,
            "first_from(i - taps + 1, sample_)",
            "first_from(i - taps + 2, sample_)",
        ),
        (
            "fractional_last_window",
            WINDOW_POOL,
            "first_from(i + 1, sample_)",
            "first_from(i, sample_)",
        ),
    ),
    *of(
        "bound off by one",
        *(WINDOW_POOL, UNPOOL, "max_unpool"),
        ("unpool_last_value", WINDOW_POOL, "i < values ? load", "i <= values ? load"),
    ),
    *of(
        "stride, offset or tap",
        *(WINDOW_POOL, FRACTIONAL, "window_max_pool_forward"),
        (
            "fractional_sample_of_the_image",
            WINDOW_POOL,
            "(image * channels + c) * dims",
            "image * channels * dims",
        ),
    ),
    *of(
        "stride, offset or tap",
        *(WINDOW_POOL, f"{WIDE} nhwc", "window_max_pool_forward_nhwc"),
        ("adaptive_max_vectors", WINDOW_POOL, "p.c / V, p.input", "p.c, p.input"),
        ("adaptive_max_row", WINDOW_POOL, "d, h, ws.begin);\n      for", "d, h, 0);\n      for"),
    ),
    *of(
        "mask",
        *(WINDOW_POOL, UNPOOL, "max_unpool"),
        ("unpool_lane_without_later_ones", WINDOW_POOL, "lane + delta >= 32 || ", ""),
        ("unpool_first_value_stays", WINDOW_POOL, "later != position)", "later < 0)"),
    ),
    *of(
        "barrier",
        *(WINDOW_POOL, UNPOOL, "max_unpool"),
        ("unpool_stores_in_any_order", WINDOW_POOL, "    sync_warp(full_warp);", "    ;"),
    ),
]
