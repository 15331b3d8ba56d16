"""The kernels on a GPU, where there is one: exact, real and guard tests, determinism, streams.

What passed is noted in build/support_cuda/ (``tools/update_support.py`` makes README's column of
GPUs of it).
"""

import contextlib
import csv
import os
from dataclasses import dataclass
from pathlib import Path

import cases
import pytest
import support
import test_exact
import test_memory
import test_tf32
import torch
from test_real import CHOSEN, rounds, torchs

import cnnkern
from cnnkern import _C, _ops, bench, problems, testing
from cnnkern.problems import Problem

if "CUDA" in (remedies := cnnkern.info().remedies):
    pytest.skip(remedies["CUDA"], allow_module_level=True)

ARCH = "sm_{}{}".format(*torch.cuda.get_device_capability())
GPU = f"{torch.cuda.get_device_name()} ({ARCH})"


@dataclass(frozen=True)
class Case(cases.Case):
    """A kernel that this GPU takes the problem on."""

    def operators(self):
        return torch.ops.cnnkern

    def refusal(self) -> str:
        return cases.Case(self.text, ARCH, self.kernel).refusal()


def allowed(problem: Problem):
    """PyTorch's setting, which on a GPU says whether float32 may be rounded to tf32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=problem.tf32)


def run(problem: Problem, *tensors: torch.Tensor):
    with allowed(problem):
        return problems.run(problem, torch.ops.cnnkern, *tensors)


CASES = [
    case
    for line in cases.lines()
    for text in cases.texts(line)
    for kernel in cases.kernels(Problem.parse(text), ARCH)
    if not (case := Case(text, GPU, kernel)).refusal()
]
REAL = [
    case
    for case in CASES
    if (any(option in case.text for option in CHOSEN) or "tf32" in case.text) and rounds(case.text)
]
# Input gradients of 288 and 1,596 products, which these kernels add one after the other: cuDNN does
# not, and is more than twice as exact. Ours err by less than 12 ulps of the largest result.
ONE_AFTER_THE_OTHER = ("direct", "implicit_gemm_simt")
LONG_SUMS = ("tiles_whole", "wgrad_133_135")


@pytest.fixture(scope="module", autouse=True)
def record():
    """Notes what passed; each process of pytest-xdist in a file of its own."""
    yield
    folder = Path(__file__).parents[1] / "build" / "support_cuda"
    folder.mkdir(parents=True, exist_ok=True)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with (folder / f"{worker}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(support.SEEN))


@pytest.mark.parametrize("case", filter(test_exact.is_exact, CASES), ids=str)
def test_exact_results(case):
    with allowed(Problem.parse(case.text)):
        test_exact.check(case, "cuda")
    support.saw_case(case)


def baseline(problem: Problem, tensors: list[torch.Tensor], truth) -> torch.Tensor:
    """PyTorch's result in the same dtype and tf32 setting: of its two ways to compute it here, with
    and without cuDNN (which has no 3-d convolution), the one that errs more."""
    results = []
    for cudnn in (True, False):
        with (
            torch.backends.cudnn.flags(enabled=cudnn, allow_tf32=problem.tf32),
            contextlib.suppress(NotImplementedError),
        ):
            results.append(torchs(problem, tensors).cpu())
    exact = torch.as_tensor(truth)
    return max(results, key=lambda result: float((result.double() - exact).abs().max()))


@pytest.mark.parametrize("case", REAL, ids=str)
def test_error_against_float64(case):
    problem = Problem.parse(case.text)
    rounded = [value.to(problem.dtype) for value in cases.operands(problem, cases.reals)]
    if problem.tf32:
        rounded = [test_tf32.nearest(value) for value in rounded]
    rounded = [value.double() for value in rounded]
    tensors = [t.cuda() for t in cases.prepared(problem, rounded)]
    with testing.force_kernel(problem.operation, case.kernel):
        found = run(problem, *tensors)
    found = (found[0] if problem.preactivation else found).cpu()
    truth = cases.expected(problem, rounded)
    if case.kernel.startswith("winograd"):
        return cases.assert_winograd_bound(found, truth, str(case))
    theirs = baseline(problem, tensors, truth)
    try:
        testing.assert_close_to_float64(found, theirs, truth, label=str(case))
    except AssertionError as error:
        known = problem.name in LONG_SUMS and case.kernel.startswith(ONE_AFTER_THE_OTHER)
        if not known or problem.direction != "dgrad":
            raise
        testing.assert_close_to_float64(found, theirs, truth, ulps=12.0, label=str(case))
        pytest.xfail(str(error))


@pytest.mark.parametrize("gap", [1, 2])
@pytest.mark.parametrize("offset", [1, 3])
@pytest.mark.parametrize("text", test_memory.TEXTS)
def test_views_inside_nan(text, offset, gap):
    with allowed(Problem.parse(text)):
        test_memory.check_views(text, torch.ops.cnnkern, offset, gap, "cuda")


LARGE = (
    "n8c64h56w56k64r3s3p1",
    "n16c256h14w14k256r3s3p1",
    "n8c128h56w56k128r3s3u2p1",
    "n4c512h7w7k2048r1s1",
    "n8c3h224w224k64r7s7u2p3",
    "n8g32c128h28w28k128r3s3p1",
    "n8g96c96h56w56k96r3s3u2p1",
)


@pytest.mark.parametrize(
    "option", ["f32 nchw", "f32 nhwc", "f32 tf32 nhwc", "f16 nhwc", "bf16 nchw"]
)
@pytest.mark.parametrize("direction", cases.CONV_DIRECTIONS)
@pytest.mark.parametrize("line", LARGE)
def test_large_layers_are_exact_and_repeat(line, direction, option):
    """Ones and minus ones: sums of products are exact while they fit float32, and so is split-K."""
    problem = Problem.parse(f"{line} {option} {direction}")
    shapes = {
        "fprop": (problem.input_shape, problem.weight_shape),
        "dgrad": (problem.output_shape, problem.weight_shape),
        "wgrad": (problem.output_shape, problem.input_shape),
    }[direction]
    values = [testing.integer_tensor(*shape, largest=1, seed=i) for i, shape in enumerate(shapes)]
    tensors = [problem.tensor(value).cuda() for value in values]
    found = run(problem, *tensors)
    doubles = [value.double().cuda() for value in values]
    wanted = torchs(Problem.parse(f"{line} f64 nchw {direction}"), doubles)
    testing.assert_equal(found, wanted, problem.text)
    for _ in range(3):
        assert torch.equal(found, run(problem, *tensors)), f"{problem.text}: results do not repeat"


@pytest.mark.parametrize("option", ["f32 nhwc", "f32 tf32 nhwc", "f16 nhwc", "bf16 nhwc"])
@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
def test_special_numbers_spread(option, special):
    problem = Problem.parse(f"n1c16h6w6k16r3s3p1 {option}")
    x = testing.integer_tensor(*problem.input_shape)
    w = torch.ones(problem.weight_shape)
    x[0, 5, 2, 3] = special
    found = run(problem, problem.tensor(x).cuda(), problem.tensor(w).cuda()).cpu()
    wanted = torch.nn.functional.conv2d(x, w, padding=1)
    testing.assert_equal(found, wanted, problem.text)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_bias_grad(dtype, layout):
    last = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    dy = testing.integer_tensor(3, 5, 7, 6, dtype=dtype).contiguous(memory_format=last)
    found = _ops.conv_bias_grad(torch.ops.cnnkern, dy.cuda()).cpu()
    testing.assert_equal(found, dy.double().sum((0, 2, 3)))
    support.saw(GPU, "bias_grad", "bias gradient", dtype, layout)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_max_pool_gather(dtype):
    problem = Problem.parse("n2c3h9w8r3s3u2p1 maxpool")
    x, at = cases.integers(problem.input_shape, "x").to(dtype), cases.pool_indices(problem)
    window = (problem.kernel, problem.stride, problem.padding[::2], problem.dilation, False)
    found = _ops.max_pool_gather(torch.ops.cnnkern, x.cuda(), at.cuda(), *window).cpu()
    testing.assert_equal(found, x.flatten(2).gather(2, at.flatten(2)).view_as(at))
    support.saw(GPU, "max_pool_gather", "gather", dtype, "nchw")


def test_streams_and_graph_capture():
    """Kernels follow the current stream: they can be captured, and nothing synchronises."""
    layer = cnnkern.Conv2d(3, 4, 3).cuda()
    x = torch.randn(2, 3, 8, 8, device="cuda")
    with torch.no_grad():
        wanted = layer(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = layer(x)
        graph.replay()
    testing.assert_equal(found.cpu(), wanted.cpu())


def test_a_network_trains_as_with_torchs_layers():
    """Losses of ten steps of SGD, with and without autocast."""

    def losses(convert: bool, autocast: bool) -> list[float]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU(),
            torch.nn.MaxPool2d(2), torch.nn.Conv2d(32, 64, 3, stride=2, padding=1),
            torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(64, 10),
        ).cuda()  # fmt: skip
        net = cnnkern.convert(net) if convert else net
        x, labels = torch.randn(16, 3, 32, 32, device="cuda"), torch.arange(16, device="cuda") % 10
        optimizer, found = torch.optim.SGD(net.parameters(), lr=0.1), []
        for _ in range(10):
            with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
                loss = torch.nn.functional.cross_entropy(net(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(float(loss))
        return found

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert losses(True, False) == pytest.approx(losses(False, False), rel=1e-3)
        assert losses(True, True) == pytest.approx(losses(False, True), rel=5e-2)


def test_autotuning_gives_the_same_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = testing.integer_tensor(4, 32, 14, 14).cuda().half()
    w = testing.integer_tensor(64, 32, 3, 3).cuda().half()
    wanted = cnnkern.functional.conv2d(x, w, padding=1)
    cnnkern.autotune(True)
    try:
        testing.assert_equal(cnnkern.functional.conv2d(x, w, padding=1).cpu(), wanted.cpu())
    finally:
        cnnkern.autotune(False)
    assert any(tmp_path.rglob("*")), "nothing was kept"
    assert _C.launches()


@pytest.mark.parametrize("text", ["n2c8h8w8k8r3s3p1 dgrad f16", "n2c8h8w8r2s2u2 maxpool_backward"])
def test_layers_are_timed(text):
    rows = bench.run([text], device="cuda", budget=0.01, each_layout=True)
    assert [row.layout for row in rows] == ["nchw", "nhwc"]
    assert all(0 < row.cnnkern_us < 1e4 and 0 < row.torch_us < 1e4 for row in rows)
