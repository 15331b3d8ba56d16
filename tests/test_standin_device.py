"""The CUDA operators on stand-in GPUs: the right device and stream, no waiting, torch's memory.

csrc/torch/bindings_cuda.cpp is compiled against the emulator and runs on a device type that tests
register with PyTorch (tests/cpp/standin). Planted bugs show that a wrong stream or device is seen.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CPP = ROOT / "tests" / "cpp"
sys.path[:0] = [str(CPP), str(CPP / "standin")]
import build_standin  # noqa: E402
import check_standin  # noqa: E402
import cpp_build  # noqa: E402

BINDINGS = "torch/bindings_cuda.cpp"
POOL = "n2c4h9w9r3s3u2p1 maxpool"
CONV = "n2c8h9w8k67r3s3p1 nhwc"


def check(library: Path, *cases: str) -> dict[str, str]:
    """Case -> empty, or what is wrong."""
    command = [sys.executable, CPP / "standin" / "check_standin.py", library, *cases]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = ran.stdout.splitlines()
    found = {line[3:]: "" for line in lines if line.startswith("ok ")}
    for line in lines:
        if line.startswith("FAILED "):
            case, _, why = line[7:].partition(": ")
            found[case] = why
    assert found, ran.stdout + ran.stderr
    return found


@pytest.fixture(scope="session")
def results():
    return check(build_standin.build())


@pytest.mark.parametrize("case", check_standin.CASES)
def test_operators_keep_to_their_device_and_stream(results, case):
    assert results[case] == ""


@dataclass(frozen=True)
class Bug:
    name: str
    file: str  # under csrc/
    old: str  # must occur exactly once
    new: str
    source: str  # what is compiled again
    reports: dict[str, str]  # what the cases say then

    def write(self, overlay: Path) -> None:
        text = (ROOT / "csrc" / self.file).read_text()
        found = text.count(self.old)
        assert found == 1, f"{self.name}: {self.old!r} occurs {found} times in {self.file}"
        target = overlay / self.file
        target.parent.mkdir(parents=True)
        target.write_text(text.replace(self.old, self.new))


GUARD = "const torch::stable::accelerator::DeviceGuard guard(device);\n    const {}Plan plan"
LAUNCH = "check_launched(cudaLaunchKernelEx("
BUGS = [
    Bug(
        "default_stream",
        BINDINGS,
        "torch::stable::accelerator::getCurrentStream(device).nativeHandle()",
        "((void)device, nullptr)",
        BINDINGS,
        {
            CONV: "is not on the current stream",
            f"{CONV}, captured": "operation would make the legacy stream depend on a capturing",
        },
    ),
    Bug(
        "conv_without_device_guard",
        BINDINGS,
        GUARD.replace("const {}Plan plan", "const bool tune"),
        "const bool tune",
        BINDINGS,
        {CONV: "a stream of device 1, but device 0 is current"},
    ),
    Bug(
        "bias_grad_without_device_guard",
        BINDINGS,
        GUARD.replace("const {}Plan plan", "ConvTensors tensors"),
        "ConvTensors tensors",
        BINDINGS,
        {"bias_grad": "a stream of device 1, but device 0 is current"},
    ),
    Bug(
        "pool_without_device_guard",
        BINDINGS,
        GUARD.format("Pool") + " = plan_pool",
        "const PoolPlan plan = plan_pool",
        BINDINGS,
        {POOL: "a stream of device 1, but device 0 is current"},
    ),
    Bug(
        "unfold_without_device_guard",
        BINDINGS,
        GUARD.format("Pool") + " = plan_unfold",
        "const PoolPlan plan = plan_unfold",
        BINDINGS,
        {"unfold": "a stream of device 1, but device 0 is current"},
    ),
    Bug(
        "plan_for_another_device",
        BINDINGS,
        "plan_pool(problem, caps_of(device)",
        "plan_pool(problem, caps_of(0)",
        BINDINGS,
        {POOL: "cudaDeviceGetAttribute  on device 0"},
    ),
    Bug(
        "workspace_on_another_device",
        BINDINGS,
        "std::nullopt, like.device());",
        "std::nullopt, torch::stable::Device(like.device().type(), 0));",
        BINDINGS,
        {CONV: "allocate  on device 0"},
    ),
    Bug(
        "workspace_from_cuda",
        BINDINGS,
        "arguments.workspace = workspace.mutable_data_ptr();",
        'check(cudaMalloc(&arguments.workspace, 256), "allocating");',
        BINDINGS,
        {CONV: "cudaMalloc was called"},
    ),
    Bug(
        "torch_not_asked_about_tf32",
        BINDINGS,
        "problem.tf32 = torch_allows_tf32();",
        "problem.tf32 = true;",
        BINDINGS,
        {"tf32": "was rounded to tf32, but PyTorch says ieee"},
    ),
    Bug(
        "launch_waits_under_capture",
        "common/launch.h",
        LAUNCH,
        f"check_launched(cudaDeviceSynchronize(), name);\n  {LAUNCH}",
        "cuda/pool/max_pool.cu",
        {f"{POOL}, captured": "saved>) failed: operation not permitted when stream is"},
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_bug_is_caught(bug, tmp_path):
    bug.write(tmp_path)
    library = build_standin.build(overlay=tmp_path, mutated=(bug.source,))
    found = check(library, *bug.reports)
    for case, report in bug.reports.items():
        assert report in found[case]


def test_forgotten_opt_in_is_caught(tmp_path):
    """The launcher that no longer asks for more than 48 KiB of shared memory."""
    Bug(
        "opt_in_deleted",
        "common/launch.h",
        "if (shared_bytes > shared_bytes_without_opt_in)",
        "if (false)",
        source="",
        reports={},
    ).write(tmp_path)
    fast = cpp_build.build("fast")
    objects = [fast / "host" / "tests_cpp_test_main.cpp.o"]
    for folder in ("emulator", "common"):
        objects += (fast / "host").glob(f"csrc_{folder}_*.o")
    paths = [f"-I{path}" for path in (tmp_path, ROOT / "csrc/emulator/include", ROOT / "csrc", CPP)]
    flags = f"{cpp_build.COMMON} {cpp_build.arch_flags(80)} {CPP}/test_launch.cpp -x none".split()
    subprocess.run(
        ["g++", *paths, *flags, *objects, "-o", tmp_path / "test_launch"],
        check=True,
    )
    name = "the_launcher_opts_in_to_much_shared_memory"
    ran = subprocess.run([tmp_path / "test_launch", name], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "65536 bytes of dynamic shared memory, but on device 0 the kernel may have 49152" in (
        ran.stdout
    )
