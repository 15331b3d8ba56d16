"""Would every kernel start on every GPU? The compiler's records against the limits of a launch."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnkern import _C, _explain

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "cpp"), str(ROOT / "tools")]
import cpp_build  # noqa: E402

from build import DEFAULT_ARCHS  # noqa: E402

DEVICES = [name for name, _ in _C.devices()]
PROBLEMS = sorted([*ROOT.glob("tests/problems/*.txt"), *ROOT.glob("benchmarks/problems/*.txt")])
KiB = 1 << 10

# --- The rules, each with made-up numbers ---------------------------------------------------------

GOOD = {
    "device": "sm_80",
    "registers": 128,
    "static_shared_bytes": 0,
    "max_threads": 512,
    "parameter_bytes": 4096,
    "cubins": ["80"],
    "ptx": 0,
    "grid": (2**31 - 1, 65535, 65535),
    "block": (512, 1, 1),
    "dynamic_shared_bytes": 48 * KiB,
    "opted_in": False,
}


def validate(**changes):
    return _C.validate_launch(**{**GOOD, **changes})


def test_the_largest_launch_is_fine():
    assert validate() == ""
    assert validate(dynamic_shared_bytes=163 * KiB, opted_in=True) == ""
    assert validate(max_threads=1024, block=(16, 1, 64), registers=64) == ""


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            # 17 warps of 31 times 32 registers: given out in units of 256, 4,096 for each warp
            dict(block=(513, 1, 1), max_threads=1024, registers=121),
            "513 threads with 121 registers take 69632 registers, a multiprocessor of sm_80 has "
            "65536",
        ),
        (dict(block=(513, 1, 1)), "a block of 513 threads exceeds the launch bounds of 512"),
        (dict(max_threads=1025), "launch bounds of 1025 threads are larger than 1024"),
        (dict(block=(1025, 1, 1)), "a block of 1025 threads, 1024 are allowed"),
        (dict(block=(1, 1, 65)), "a block of 1 x 1 x 65 threads, 64 are allowed along z"),
        (dict(block=(0, 1, 1)), "an empty block: 0 x 1 x 1 threads"),
        (dict(grid=(1, 0, 1)), "an empty grid: 1 x 0 x 1 blocks"),
        *(
            (
                dict(grid=grid),
                "a grid larger than 2147483647 x 65535 x 65535: " + " x ".join(map(str, grid)),
            )
            for grid in [(2**31, 1, 1), (1, 65536, 1), (1, 1, 65536)]
        ),
        (dict(parameter_bytes=4097), "the parameters take 4097 bytes, 4096 are allowed"),
        (
            dict(dynamic_shared_bytes=48 * KiB, static_shared_bytes=4),
            "a block takes 49156 bytes of shared memory, but without "
            "cudaFuncAttributeMaxDynamicSharedMemorySize it may take 49152",
        ),
        (
            dict(dynamic_shared_bytes=163 * KiB, static_shared_bytes=4, opted_in=True),
            "a block takes 166916 bytes of shared memory, sm_80 allows 166912",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rule(changes, reason):
    assert validate(**changes) == reason


@pytest.mark.parametrize(
    "cubins, ptx, runs_on",
    [
        (["80"], 0, {"sm_80", "sm_86", "sm_89"}),
        (["86"], 0, {"sm_86", "sm_89"}),
        (["90a"], 0, {"sm_90"}),
        (["75"], 80, set(DEVICES)),
        ([], 80, set(DEVICES) - {"sm_75"}),
        ([], 0, set()),
    ],
)
def test_code_for_a_device(cubins, ptx, runs_on):
    shape = {"dynamic_shared_bytes": 0, "block": (32, 1, 1)}
    wrong = {name: validate(device=name, cubins=cubins, ptx=ptx, **shape) for name in DEVICES}
    assert {name for name, why in wrong.items() if why == ""} == runs_on
    for name, why in wrong.items():
        assert name in runs_on or why.startswith(f"there is no code for {name}: machine code for ")


def test_a_default_build_has_machine_code_for_every_device():
    for name in DEVICES:
        assert validate(device=name, cubins=DEFAULT_ARCHS.split(), dynamic_shared_bytes=0) == ""


def test_too_many_parameters_do_not_compile():
    """The launcher itself refuses more than 4 KiB, on a GPU and here."""
    source = """
        #include "common/launch.h"
        struct Params { char bytes[SIZE]; };
        __global__ void kernel(Params) {}
        void launch() { CNNKERN_LAUNCH(kernel, 1, 1, 0, nullptr, Params()); }
    """
    command = f"g++ {cpp_build.COMMON} {cpp_build.arch_flags(80)} -fsyntax-only - -I{ROOT}/csrc"
    for size, compiles in [(4096, True), (4097, False)]:
        ran = subprocess.run(
            [*command.split(), f"-I{ROOT}/csrc/emulator/include", f"-DSIZE={size}"],
            **{"input": source, "capture_output": True, "text": True},
        )
        assert (ran.returncode == 0) == compiles, ran.stderr
        assert compiles or "max_parameter_bytes" in ran.stderr


# --- Every kernel of this build -------------------------------------------------------------------

needs_cuda = pytest.mark.skipif(not _C.cuda_built, reason="this build has no CUDA kernels")


def cuobjdump(option):
    """What cuobjdump says of the library; Triton brings one along where CUDA's is missing."""
    tool = shutil.which("cuobjdump")
    if tool is None:
        triton = pytest.importorskip("triton", reason="there is no cuobjdump")
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        if not tool.is_file():
            pytest.skip("there is no cuobjdump")
    return subprocess.run([tool, option, _C.__file__], capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def kernels():
    """Mangled name -> its records by architecture."""
    found = {}
    for record in _explain.build_info()["kernels"]:
        found.setdefault(record["mangled"], {})[record["arch"]] = record
    return found


@pytest.fixture(scope="module")
def ptx_entries():
    """Mangled name -> (launch bounds, parameter bytes), from the PTX in the library."""
    width = {"b8": 1, "u16": 2, "u32": 4, "f32": 4, "u64": 8, "f64": 8}
    entries = {}
    text = cuobjdump("--dump-ptx")
    for name, parameters, after in re.findall(r"\.entry (\w+)\((.*?)\)(.*?)\{", text, re.S):
        size = 0
        for align, kind, count in re.findall(
            r"\.param (?:\.align (\d+) )?\.(\w+) \w+(?:\[(\d+)\])?", parameters
        ):
            alignment = int(align or width[kind])
            size = -(-size // alignment) * alignment + width[kind] * int(count or 1)
        bounds = re.search(r"\.maxntid (\d+)", after)
        entries[name] = (int(bounds[1]) if bounds else 1024, size)
    return entries


@needs_cuda
def test_records_agree_with_the_library(kernels, ptx_entries):
    """Every kernel has launch bounds, and ptxas's parameters are those that the PTX declares."""
    assert set(ptx_entries) == set(kernels)
    for name, (bounds, size) in ptx_entries.items():
        assert bounds < 1024, f"{name} has no launch bounds"
        told = {r["parameter_bytes"] for r in kernels[name].values()} - {None}
        assert told == {size}, name


@needs_cuda
def test_every_kernel_has_machine_code_and_ptx():
    info = _explain.build_info()
    sources = {path.stem for path in (ROOT / "csrc" / "cuda").rglob("*.cu")}
    cubins = set(re.findall(r": (\w+)\.sm_(\w+)\.cubin", cuobjdump("--list-elf")))
    assert cubins == {(source, arch) for source in sources for arch in info["archs"]}
    ptx = set(re.findall(r": (\w+)\.sm_(\w+)\.ptx", cuobjdump("--list-ptx")))
    assert ptx == {(source, str(info["ptx"])) for source in sources}


@pytest.fixture(scope="module")
def launches():
    """device -> (kernel, shape) of all that may be launched."""
    command = [cpp_build.build("fast") / "list_launches", *PROBLEMS]
    found = {}
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        device, kernel, grid, block, shared, opted_in = line.split("\t")
        shape = {"grid": tuple(map(int, grid.split())), "block": tuple(map(int, block.split()))}
        shape |= {"dynamic_shared_bytes": int(shared), "opted_in": opted_in == "1"}
        found.setdefault(device, []).append((kernel, shape))
    return found


def impossible(device, kernels, ptx_entries, launches, ptx):
    """A sentence for each launch that the device would refuse, and the kernels that were asked."""
    by_symbol, launched, found = {}, set(), []
    for kernel, shape in launches[device]:
        if kernel not in by_symbol:
            # A plan's symbol, or a bare name: that of every instantiation.
            of_kernel = re.compile(re.escape(kernel) if "<" in kernel else rf"::{kernel}[<(]")
            by_symbol[kernel] = [
                (name, resources(device, records, ptx_entries[name], ptx))
                for name, records in kernels.items()
                if of_kernel.search(next(iter(records.values()))["demangled"])
            ]
            assert by_symbol[kernel], f"the compiler's records have no {kernel}"
        for name, needs in by_symbol[kernel]:
            launched.add(name)
            if wrong := _C.validate_launch(device, **needs, **shape):
                found.append(f"{kernel} {shape}: {wrong}")
    return found, launched


def resources(device, records, entry, ptx):
    """A kernel on a device: the records of its own machine code, else the worst of all."""
    max_threads, parameter_bytes = entry
    number = device.removeprefix("sm_")
    own = [record for arch, record in records.items() if arch.rstrip("af") == number]
    used = own or list(records.values())
    return {
        "registers": max(record["registers"] for record in used),
        "static_shared_bytes": max(record["shared_bytes"] for record in used),
        "max_threads": max_threads,
        "parameter_bytes": parameter_bytes,
        "cubins": list(records),
        "ptx": ptx,
    }


@needs_cuda
@pytest.mark.parametrize("device", DEVICES)
def test_every_launch_is_possible(device, kernels, ptx_entries, launches):
    info = _explain.build_info()
    number = device.removeprefix("sm_")
    if int(number) < info["ptx"] and number not in info["archs"]:
        pytest.skip(f"this build was told to leave {device} out")
    wrong, launched = impossible(device, kernels, ptx_entries, launches, info["ptx"])
    assert wrong == []
    demangled = {
        name: next(iter(records.values()))["demangled"] for name, records in kernels.items()
    }
    needs_sm_80 = re.compile(
        r"::((mma_\w+|first_layer\w*)<(cnnkern::bfloat16|cnnkern::tf32x3|float)\b|ladder_[56])"
    )
    refused = {n for n, text in demangled.items() if device == "sm_75" and needs_sm_80.search(text)}
    assert launched == set(kernels) - refused, "some kernels are never launched"


@needs_cuda
@pytest.mark.parametrize(
    "change, device, reason",
    [
        (dict(shared_bytes=99 << 10), "sm_89", "bytes of shared memory, sm_89 allows 101376"),
        (dict(shared_bytes=40 << 10), "sm_75", "but without cudaFuncAttributeMaxDynamic"),
    ],
)
def test_a_kernel_that_takes_too_much_is_found(
    change, device, reason, kernels, ptx_entries, launches
):
    """Records as a careless change of a kernel would leave them."""
    worse = {
        name: {arch: {**record, **change} for arch, record in records.items()}
        for name, records in kernels.items()
    }
    wrong, _ = impossible(device, worse, ptx_entries, launches, 80)
    assert any(reason in sentence for sentence in wrong)


@needs_cuda
def test_too_many_threads_and_missing_code_are_found(kernels, ptx_entries, launches):
    twice = {"sm_90": [(k, shape | {"block": (512, 1, 1)}) for k, shape in launches["sm_90"]]}
    wide = {name: (512, size) for name, (_, size) in ptx_entries.items()}
    wrong, _ = impossible("sm_90", kernels, wide, twice, 80)
    assert any("512 threads with 1" in s and "registers, a multi" in s for s in wrong), wrong[:3]
    narrow = {name: (128, size) for name, (_, size) in ptx_entries.items()}
    wrong, _ = impossible("sm_80", kernels, narrow, launches, 80)
    assert any("256 threads exceeds the launch bounds of 128" in sentence for sentence in wrong)
    without = {
        name: {arch: record for arch, record in records.items() if arch != "75"}
        for name, records in kernels.items()
    }
    wrong, _ = impossible("sm_75", without, ptx_entries, launches, 80)
    assert len(wrong) >= len(launches["sm_75"])
    assert all("there is no code for sm_75" in sentence for sentence in wrong)
