"""Fuzzing: random problem strings on every kernel that takes them, bit for bit.

The cases are the same on every run. ``CNNKERN_FUZZ_SEED=n`` draws others, ``CNNKERN_FUZZ_SCALE=10``
ten times as many. A failure shrinks to a small problem and prints the line that repeats it.
"""

import os

import cases
import hypothesis
import pytest
import torch
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import check, needs_emulator

from cnnkern.problems import Problem

SEED, SCALE = os.environ.get("CNNKERN_FUZZ_SEED"), int(os.environ.get("CNNKERN_FUZZ_SCALE", "1"))
SIDES = (("pf", "pk"), ("pt", "pb"), ("pl", "pr"))
FUSED = (
    "relu", "residual", "relu residual", "relu preactivation", "residual preactivation",
    "relu residual preactivation",
)  # fmt: skip
MOST_TAPS = 85  # so many times 3, the largest number, is exact in bfloat16

few = st.integers(1, 9)
many = st.one_of(few, few, st.integers(60, 70), st.integers(126, 131))  # around the tiles' edges
fours = st.one_of(st.integers(5, 18), st.integers(31, 33)).map(lambda vectors: 4 * vectors)


def options(draw, dims: int, dtypes: tuple[str, ...] = ("f32", "f64", "f16", "bf16")) -> str:
    layout = draw(st.sampled_from(["nchw", "nhwc"] if dims > 1 else ["nchw"]))
    return f"{draw(st.sampled_from(dtypes))} {layout}"


def span(taps: int, gap: int) -> int:
    return gap * (taps - 1) + 1


def filter_windows(draw, dims: int, most_taps: int) -> str:
    """Sizes of a convolution's axes; the padded input holds the filter."""
    text = ""
    for axis, tap, (begin, end) in list(zip("dhw", "trs", SIDES))[-dims:]:
        taps, gap = draw(st.integers(1, most_taps)), draw(st.integers(1, 3))
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        least = max(1, span(taps, gap) - before - after)
        text += f"{axis}{least + draw(st.integers(0, 8 if dims < 3 else 3))}{tap}{taps}"
        text += f"u{axis}{draw(st.integers(1, 3))}l{axis}{gap}{begin}{before}{end}{after}"
    return text


@st.composite
def convolution(draw, ends: tuple[str, ...]) -> str:
    """1-d to 3-d; a dgrad is a transposed convolution."""
    dims = draw(st.integers(1, 3))
    size = many if dims < 3 else few
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    if groups == 1:
        c, k = draw(size), draw(size)
    else:
        c, k = (groups * draw(st.integers(1, 5)) for _ in "ck")
    if draw(st.integers(0, 4)) == 0:  # depthwise
        groups, k = c, c * draw(st.integers(1, 2))
    text = f"n{draw(st.integers(1, 3))}g{groups}c{c}k{k}"
    text += filter_windows(draw, dims, 5 if dims < 3 else 3)
    return f"{text} {options(draw, dims)} {draw(st.sampled_from(ends))}"


@st.composite
def tiled_convolution(draw) -> str:
    """What fills the CUDA kernels' tiles, which are float32's, and is whole vectors of 4."""
    dims = draw(st.integers(1, 2))
    text = f"n{draw(st.integers(1, 3))}c{draw(fours)}k{draw(fours)}{filter_windows(draw, dims, 3)}"
    end = draw(st.sampled_from((*cases.CONV_DIRECTIONS, "relu residual preactivation")))
    return f"{text} {options(draw, dims, ('f32',))} {end}"


def strided_windows(draw) -> tuple[int, str]:
    """Dimensions 1 to 3 and sizes; padding up to half the window, as torch has it."""
    dims = draw(st.integers(1, 3))
    text = f"n{draw(st.integers(1, 3))}c{draw(many)}"
    for axis, tap in list(zip("dhw", "trs"))[-dims:]:
        taps, gap = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        pad = draw(st.integers(0, span(taps, gap) // 2))
        least = max(1, span(taps, gap) - 2 * pad)
        text += f"{axis}{least + draw(st.integers(0, 8 if dims < 3 else 3))}{tap}{taps}"
        text += f"u{axis}{draw(st.integers(1, 4))}l{axis}{gap}p{axis}{pad}"
    return dims, text


@st.composite
def max_pooling(draw) -> str:
    dims, text = strided_windows(draw)
    ceil = draw(st.sampled_from(["", " ceil"]))
    direction = draw(st.sampled_from(("maxpool", "maxpool values", "maxpool_backward")))
    offsets = "" if "values" in direction else draw(st.sampled_from(["", " offsets"]))
    return f"{text} {options(draw, dims)} {direction}{offsets}{ceil}"


@st.composite
def average_pooling(draw) -> str:
    dims, text = strided_windows(draw)
    words = [draw(st.sampled_from(cases.AVG_DIRECTIONS[:2]))]
    words += draw(st.lists(st.sampled_from(["ceil", "exclude_pad"]), unique=True))
    words += draw(st.one_of(st.just([]), st.integers(1, MOST_TAPS).map(lambda m: [f"divisor{m}"])))
    return f"{text} {options(draw, dims)} {' '.join(words)}"


def free_windows(draw, dims: int, most: int) -> str:
    """Sizes of inputs and of outputs that no stride ties; no window has more than ``most`` taps."""
    text, taps = f"n{draw(st.integers(1, 2))}c{draw(many)}", int(most ** (1 / dims) + 1e-9)
    for axis, tap in list(zip("dhw", "trs"))[-dims:]:
        windows = draw(st.integers(1, 9 if dims < 3 else 4))
        size = draw(st.integers(1, min(windows * (taps - 1), 20)))
        text += f"{axis}{size}{tap}{windows}"
    return text


@st.composite
def adaptive_average_pooling(draw) -> str:
    dims = draw(st.integers(1, 3))
    text = free_windows(draw, dims, MOST_TAPS)
    return f"{text} {options(draw, dims)} {draw(st.sampled_from(cases.AVG_DIRECTIONS[2:]))}"


@st.composite
def adaptive_max_pooling(draw) -> str:
    """And unpooling, whose positions are any."""
    dims = draw(st.integers(1, 3))
    words = [word for word in cases.WINDOW_DIRECTIONS if "fractional" not in word]
    return f"{free_windows(draw, dims, 30)} {options(draw, dims)} {draw(st.sampled_from(words))}"


def odd_part(number: int) -> int:
    return number // (number & -number)


@st.composite
def fractional_max_pooling(draw) -> str:
    """2-d and 3-d. Windows begin at the same places in all dtypes: their number less one is a power
    of two, and the largest (o + u)·α, of eighths u, has no more digits than bfloat16."""
    dims = draw(st.integers(2, 3))
    text = f"n{draw(st.integers(1, 2))}c{draw(many)}"
    for axis, tap in list(zip("dhw", "trs"))[-dims:]:
        windows, taps = draw(st.sampled_from([1, 2, 3, 5])), draw(st.integers(1, 3))
        moves = range(max(windows - 1, 1) + (dims == 3), 12)
        exact = [m for m in moves if (8 * (windows - 2) + 7) * odd_part(m) < 256]
        text += f"{axis}{taps + draw(st.sampled_from(exact))}{tap}{windows}u{axis}{taps}"
    words = [word for word in cases.WINDOW_DIRECTIONS if "fractional" in word]
    return f"{text} {options(draw, dims)} {draw(st.sampled_from(words))}"


@st.composite
def unfolding(draw) -> str:
    text = f"n{draw(st.integers(1, 2))}c{draw(many)}"
    for axis, tap in zip("hw", "rs"):
        taps, gap, pad = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 3))
        least = max(1, span(taps, gap) - 2 * pad)
        text += f"{axis}{least + draw(st.integers(0, 6))}{tap}{taps}"
        text += f"u{axis}{draw(st.integers(1, 4))}l{axis}{gap}p{axis}{pad}"
    dtype = draw(st.sampled_from(["f32", "f64", "f16", "bf16"]))
    return f"{text} {dtype} {draw(st.sampled_from(cases.UNFOLD_DIRECTIONS))}"


# Of 50 problems, how many are of each family: left to itself hypothesis would leave out some.
FAMILIES = (
    (11, convolution(cases.CONV_DIRECTIONS)),
    (6, convolution(FUSED)),
    (8, tiled_convolution()),
    (6, max_pooling()),
    (6, average_pooling()),
    (4, adaptive_average_pooling()),
    (4, adaptive_max_pooling()),
    (3, fractional_max_pooling()),
    (2, unfolding()),
)


def check_all_kernels(text: str, device: str) -> None:
    """Every kernel of the device that takes the problem; at least one must."""
    ran = 0
    try:
        problem = Problem.parse(text)
        for kernel in cases.kernels(problem, device):
            case = Case(problem.text, device, kernel)
            if not case.refusal():
                check(case)
                ran += 1
        assert ran, f"no kernel takes {problem.text} on {device}"
    except Exception as error:
        command = f"python -m pytest tests/test_fuzz.py -k {device} --problem '{text}'"
        raise AssertionError(f"{error}\n{command}") from error


def fuzz(device: str, count: int, problems: st.SearchStrategy[str]) -> set[str]:
    """Checks so many problems, and returns those that differ."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not SEED,
        print_blob=False,
    )
    @given(problems)
    def run(text: str) -> None:
        drawn.add(text)
        check_all_kernels(text, device)

    drawn: set[str] = set()
    if SEED:
        run = hypothesis.seed(int(SEED))(run)
    run()
    return drawn


@pytest.fixture
def one_thread():
    """The tensors are small: waking threads would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "device, count",
    [
        ("cpu", 2000),
        pytest.param("sm_80", 150, marks=needs_emulator),
        pytest.param("sm_75", 50, marks=needs_emulator),
    ],
)
def test_fuzz(device, count, request):
    if given_problem := request.config.getoption("--problem"):
        return check_all_kernels(given_problem, device)
    count *= SCALE
    drawn = [fuzz(device, count * share // 50, family) for share, family in FAMILIES]
    assert sum(map(len, drawn)) >= 0.9 * count, "hypothesis repeats itself"
