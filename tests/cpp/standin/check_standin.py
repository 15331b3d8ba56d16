"""Runs the CUDA operators on the second of two stand-in GPUs and reads the log of runtime calls.

    python tests/cpp/standin/check_standin.py standin.so [CASE…]

Tensors lie on device 1, whose current stream is not the default one; device 0 is current and is of
another kind. A line a case: "ok CASE" or "FAILED CASE: why". A program of its own, as PyTorch takes
the stand-in for the accelerator once it is registered.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 3)]
import cases  # noqa: E402

import cnnkern  # noqa: E402
from cnnkern import problems, testing  # noqa: E402
from cnnkern.problems import Problem  # noqa: E402

DEVICE = "standin:1"
LAUNCH = "cudaLaunchKernelEx"
# What an operator may call; all else synchronises or goes around PyTorch's allocator.
HARMLESS = {LAUNCH, "cudaFuncSetAttribute", "cudaDeviceGetAttribute", "cudaSetDevice", "allocate"}

PROBLEMS = [
    "n2c8h9w8k67r3s3p1 nhwc",
    "n2c3h9w8k5r3s3p1 f64",
    "n2c8h9w8k67r3s3p1u2 nhwc dgrad",
    "n8c8h32w32k8r3s3p1 nhwc wgrad",  # split-K: two kernels and a workspace
    "n2c4h9w9r3s3u2p1 maxpool",
    "n2c4h9w9r3s3u2p1 nhwc maxpool_backward",
    "n2c4h9w9r3s3u2p1 avgpool exclude_pad",
    "n2c4h9w9r3s4 nhwc adaptive_avgpool_backward",
]


@dataclass(frozen=True)
class Call:
    function: str
    device: int
    stream: int
    kernel: str
    error: int


def logged(run: Callable[[], object], captured: bool = False) -> tuple[object, list[Call]]:
    """What `run` returns, and the runtime calls that it made."""
    torch.ops.standin.open_log()
    if captured:
        torch.ops.standin.begin_capture(1)
    try:
        result = run()
    finally:
        torch.ops.standin.end_capture()
        lines = [line.split("\t") for line in torch.ops.standin.close_log()]
    return result, [Call(f, int(d), int(s), kernel, int(e)) for f, d, s, kernel, e in lines]


def check_calls(calls: list[Call], launches: int) -> None:
    """Every launch on the tensors' device and its current stream, and nothing that waits."""
    stream = torch.accelerator.current_stream(1).stream_id
    assert stream != 0, "device 1 has no stream of its own"
    found = [call for call in calls if call.function == LAUNCH]
    assert len(found) == launches, f"{len(found)} launches instead of {launches}"
    for call in calls:
        assert call.function in HARMLESS, f"{call.function} was called"
        assert call.error == 0, f"{call.function} failed"
        if call.function != "cudaSetDevice":
            assert call.device == 1, f"{call.function} {call.kernel} on device {call.device}"
        if call.function == LAUNCH:
            assert call.stream == stream, f"{call.kernel} is not on the current stream"
    current = torch.accelerator.current_device_index()
    assert current == 0, f"device {current} is current afterwards"


def run_problem(text: str, captured: bool) -> None:
    problem = Problem.parse(text)
    tensors = cases.prepared(problem, cases.operands(problem))
    moved = [tensor.to(DEVICE) for tensor in tensors]
    found, calls = logged(lambda: problems.run(problem, torch.ops.cnnkern, *moved), captured)
    check_calls(calls, launches=2 if "wgrad" in text else 1)
    if not captured:  # a captured kernel has not run
        wanted = problems.run(problem, torch.ops.cnnkern, *tensors)
        for ours, theirs in zip(found, wanted) if isinstance(found, tuple) else [(found, wanted)]:
            assert ours.device == torch.device(DEVICE)
            testing.assert_equal(ours.cpu(), theirs, text)


def run_bias_grad(captured: bool) -> None:
    dy = testing.integer_tensor(3, 5, 7, 6)
    moved = dy.to(DEVICE)
    found, calls = logged(lambda: torch.ops.cnnkern.conv_bias_grad(moved), captured)
    check_calls(calls, launches=1)
    if not captured:
        testing.assert_equal(found.cpu(), dy.sum((0, 2, 3)), "bias_grad")


def run_pool_gather(captured: bool) -> None:
    x = testing.integer_tensor(2, 3, 8, 8)
    window = ([2, 2], [2, 2], [0, 0], [1, 1], False)
    _, indices = torch.ops.cnnkern.max_pool_forward(x, *window)
    moved = x.to(DEVICE), indices.to(DEVICE)
    found, calls = logged(lambda: torch.ops.cnnkern.max_pool_gather(*moved, *window), captured)
    check_calls(calls, launches=1)
    if not captured:
        wanted = torch.ops.cnnkern.max_pool_gather(x, indices, *window)
        testing.assert_equal(found.cpu(), wanted, "max_pool_gather")


def run_unfold(captured: bool) -> None:
    x = testing.integer_tensor(2, 3, 7, 6)
    moved, window = x.to(DEVICE), ([3, 2], [2, 1], [1, 1], [1, 2])
    found, calls = logged(lambda: torch.ops.cnnkern.unfold(moved, *window), captured)
    check_calls(calls, launches=1)
    if not captured:
        testing.assert_equal(found.cpu(), torch.ops.cnnkern.unfold(x, *window), "unfold")


def run_training_step(captured: bool) -> None:
    """Autograd's own thread has to take over device and stream."""
    model = torch.nn.Sequential(cnnkern.Conv2d(3, 4, 3), cnnkern.MaxPool2d(2)).to(DEVICE)
    x, dy = torch.randn(2, 3, 8, 8).to(DEVICE), torch.ones(2, 4, 3, 3).to(DEVICE)
    _, calls = logged(lambda: model(x).backward(dy), captured)
    # Forward and backward of both, the bias's gradient, and the sum of the weight gradient's parts.
    check_calls(calls, launches=6)
    assert model[0].weight.grad.device == torch.device(DEVICE)


def run_tf32(captured: bool) -> None:
    """PyTorch's setting at the moment of a call decides, in a backward pass too."""
    last = torch.channels_last
    x = torch.randn(2, 8, 9, 8).to(memory_format=last).to(DEVICE).requires_grad_()
    w = torch.randn(64, 8, 3, 3).to(DEVICE).requires_grad_()
    dy = torch.ones(2, 64, 7, 6).to(memory_format=last).to(DEVICE)
    setting = torch.backends.cudnn.conv
    before = setting.fp32_precision
    try:
        for forward, backward in (("tf32", "ieee"), ("ieee", "tf32")):
            x.grad = w.grad = None
            setting.fp32_precision = forward
            y, calls = logged(lambda: cnnkern.functional.conv2d(x, w), captured)
            check_tensor_cores(calls, convolutions=1)
            setting.fp32_precision = backward
            _, calls = logged(functools.partial(y.backward, dy), captured)
            check_tensor_cores(calls, convolutions=2)
            if not captured:
                check_rounding(x, w, y, dy, forward, backward)
        misaligned = torch.empty(x.numel() + 1, device=DEVICE)[1:].view(2, 9, 8, 8)
        images = misaligned.permute(0, 3, 1, 2)  # in channels last
        _, calls = logged(lambda: cnnkern.functional.conv2d(images, w), captured)
        assert any("gemm_fprop" in call.kernel for call in calls), f"{calls} of misaligned images"
    finally:
        setting.fp32_precision = before


def check_tensor_cores(calls: list[Call], convolutions: int) -> None:
    names = [call.kernel for call in calls if re.search("(fprop|dgrad|wgrad)<", call.kernel)]
    assert len(names) == convolutions, f"{names} ran"
    assert all("mma_" in name for name in names), f"{names} ran"


def check_rounding(
    x: torch.Tensor, w: torch.Tensor, y: torch.Tensor, dy: torch.Tensor, forward: str, backward: str
) -> None:
    """Operands rounded to tf32 make an error of 1e-4, float32's digits one of 1e-7."""
    exact = [tensor.detach().cpu().double().requires_grad_() for tensor in (x, w)]
    result = torch.nn.functional.conv2d(*exact)
    result.backward(dy.cpu().double())
    for name, found, truth, setting in (
        ("y", y, result, forward),
        ("x.grad", x.grad, exact[0].grad, backward),
        ("w.grad", w.grad, exact[1].grad, backward),
    ):
        error = (found.detach().cpu().double() - truth).norm() / truth.norm()
        rounded = error > 1e-5
        said = "was rounded" if rounded else "was not rounded"
        assert rounded == (setting == "tf32"), f"{name} {said} to tf32, but PyTorch says {setting}"


def run_autotune(captured: bool) -> None:
    """Times once, on the stream of the tensors, and never while a graph is captured."""
    problem = Problem.parse("n1c8h6w5k72r3s3p1 nhwc")
    tensors = cases.prepared(problem, cases.operands(problem))
    moved = [tensor.to(DEVICE) for tensor in tensors]
    torch.ops.standin.set_autotune(True)
    try:
        found, calls = logged(lambda: problems.run(problem, torch.ops.cnnkern, *moved), captured)
        if not captured:
            waits = [call for call in calls if call.function == "cudaStreamSynchronize"]
            assert waits, "nothing was timed"
            timed = [call for call in calls if call not in waits]
            check_calls(timed, launches=len([call for call in timed if call.function == LAUNCH]))
            wanted = problems.run(problem, torch.ops.cnnkern, *tensors)
            testing.assert_equal(found.cpu(), wanted, "autotune")
            _, calls = logged(lambda: problems.run(problem, torch.ops.cnnkern, *moved))
        check_calls(calls, launches=1)
    finally:
        torch.ops.standin.set_autotune(False)


CASES: dict[str, Callable[[], None]] = {}
for captured in (True, False):  # before its problems are tuned
    suffix = ", captured" if captured else ""
    CASES[f"training step{suffix}"] = lambda captured=captured: run_training_step(captured)
    CASES[f"max_pool_gather{suffix}"] = lambda captured=captured: run_pool_gather(captured)
    CASES[f"bias_grad{suffix}"] = lambda captured=captured: run_bias_grad(captured)
    CASES[f"autotune{suffix}"] = lambda captured=captured: run_autotune(captured)
    CASES[f"tf32{suffix}"] = lambda captured=captured: run_tf32(captured)
    CASES[f"unfold{suffix}"] = lambda captured=captured: run_unfold(captured)
    for text in PROBLEMS:
        CASES[text + suffix] = lambda text=text, captured=captured: run_problem(text, captured)


def main(library: str, *names: str) -> int:
    torch.ops.load_library(library)
    module = types.ModuleType("standin")  # what torch.accelerator asks for
    module._is_in_bad_fork = lambda: False
    torch._register_device_module("standin", module)
    torch.ops.standin.set_gpu(1, "sm_90")
    torch.accelerator.set_stream(torch.Stream(device=DEVICE))
    torch.accelerator.set_device_index(0)
    failed = 0
    for name in names or CASES:
        try:
            CASES[name]()
            print("ok", name)
        except Exception as error:
            failed = 1
            print(f"FAILED {name}: {error}")
        torch.accelerator.set_device_index(0)
    return failed


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # PyTorch does not end the autograd threads of such a device
