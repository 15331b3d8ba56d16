"""Builds the torch-free C++ tests: the CUDA kernels, the emulator and the programs that drive them.

Each variant has a folder build/tests_cpp/<variant>/ with programs: `test_emulator` (cases for the
emulator and the primitives) and, but for `portable`, which is there for its fibers, `run_problems`
(every kernel on lines of tests/problems/*.txt). `fast` and `sanitized` have `run_large` (every
kernel on tensors of more than 2^31 elements) and `classics` (tests/emulator/classics), and `fast`
has `list_launches` (the shape of every launch on every GPU). Builds are incremental.

    python tests/cpp/cpp_build.py fast | sanitized | portable | tsan
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
OUT = ROOT / "build" / "tests_cpp"
LIBRARY = ROOT / "build" / "ninja"  # tools/build.py's; its kernels and plans are those of `fast`
ARCHS = (75, 80)

# Contraction off and registers filled with a pattern: a GPU gives neither for free.
COMMON = (
    "-std=c++20 -Wall -Wextra -Wno-unknown-pragmas -pthread "
    "-ffp-contract=off -ftrivial-auto-var-init=pattern -fPIC -fvisibility=hidden"
)
VARIANTS = {
    "fast": "-O2 -g1",
    # What null pointers do AddressSanitizer sees; to check each of them takes a third of the time.
    "sanitized": "-O1 -g1 -fsanitize=address,undefined,float-cast-overflow "
    "-fno-sanitize=null,vptr -fno-sanitize-recover=all",
    "portable": "-O1 -g1 -DCNNKERN_PORTABLE_FIBERS",
    "tsan": "-O1 -g1 -fsanitize=thread -DCNNKERN_THREAD_SANITIZER",
}


def kernel_sources() -> list[Path]:
    """What is compiled once per architecture path."""
    return [*sorted((CSRC / "cuda").rglob("*.cu")), CSRC / "emulator/arch_path.cu"]


def emulator_sources() -> list[Path]:
    """What every program is linked with."""
    return [*sorted((CSRC / "emulator").glob("*.cpp")), *sorted((CSRC / "common").glob("*.cpp"))]


def plan_sources() -> list[Path]:
    """What drives the kernels, and the reference."""
    references = sorted((CSRC / "cpu").glob("reference*.cpp"))
    return [*sorted((CSRC / "cuda").rglob("*.cpp")), *references, CSRC / "cpu/pool/unfold.cpp"]


def unit_sources(variant: str) -> list[Path]:
    """The files with TEST cases, which make up `test_emulator`; `tsan` has one of its own."""
    if variant == "tsan":
        return [ROOT / "tests" / "cpp" / "test_thread_sanitizer.cpp"]
    files = sorted((ROOT / "tests" / "cpp").glob("test_*.cpp"))
    cases = [file for file in files if re.search(r"^TEST\(", file.read_text(), re.M)]
    return [file for file in cases if file.stem != "test_thread_sanitizer"]


def arch_flags(arch: int) -> str:
    return f"-x c++ -DCNNKERN_ARCH={arch}0 -DCNNKERN_CUDA_NAMESPACE=emulated_sm{arch}"


@dataclass(frozen=True)
class Overlay:
    """A folder laid out as csrc/, whose files stand before the original ones.

    ``sources`` (paths under csrc/) are compiled with them, for one architecture path, and what they
    define goes before what ``program`` of the variant has. The program is linked into the folder.
    """

    folder: Path
    sources: tuple[str, ...]
    arch: int
    program: str


def one_tile_each(table: str) -> str:
    """conv_kernels.inc with the smallest tensor-core tile of each direction and type alone.

    What sanitizers watch is slow to compile, and all tiles are made of the same.
    """
    rows = {}
    for number, line in enumerate(table.splitlines()):
        on_tensor_cores = line.startswith("CNNKERN_MMA")
        rows[re.sub(r"(\d+, ){2}\d+\)$", "", line) if on_tensor_cores else number] = line
    return "\n".join(rows.values()) + "\n"


def differs_by_arch(source: Path) -> bool:
    """Whether a kernel's source, or what it includes, asks what architecture it is for."""
    seen, waiting = set(), [source]
    while waiting:
        file = waiting.pop()
        if file in seen or file.name == "launch.h":  # which defines the word
            continue
        seen.add(file)
        text = file.read_text()
        if "CNNKERN_ARCH" in text:
            return True
        included = (CSRC / name for name in re.findall(r'^#include "(.+)"', text, re.M))
        waiting += [path for path in included if path.exists()]
    return False


def object_of(source: Path) -> str:
    return f"{source.relative_to(ROOT).as_posix().replace('/', '_')}.o"


def watched(source: Path, arch: int) -> bool:
    """Whether sanitizers watch a source: not the reference, and one code on both paths once."""
    if source.suffix == ".cpp":
        return source.is_relative_to(CSRC / "cuda")
    lists_kernels = source.name == "conv_launch.cu"
    return arch == ARCHS[-1] or differs_by_arch(source) or lists_kernels


def fast_object(source: Path, arch: int) -> Path:
    """Where `fast` has the object of a source: kernels and plans are those of tools/build.py."""
    if source in emulator_sources():
        return OUT / "fast" / "host" / object_of(source)
    return (
        LIBRARY / ("host" if source.suffix == ".cpp" else f"emulated_sm{arch}") / object_of(source)
    )


def build(variant: str, overlays: Sequence[Overlay] = ()) -> Path:
    """Compiles what has changed, overlays included, and returns the folder of the programs.

    One process at a time: ninja itself does not notice another in the same folder.
    """
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(variant, overlays)


def _build(variant: str, overlays: Sequence[Overlay]) -> Path:
    folder = OUT / variant
    folder.mkdir(parents=True, exist_ok=True)
    if variant in ("sanitized", "tsan"):
        table = folder / "cuda/conv/conv_kernels.inc"
        text = one_tile_each((CSRC / "cuda/conv/conv_kernels.inc").read_text())
        if not table.exists() or table.read_text() != text:  # else all would be compiled again
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text(text)
    rules = [
        f"flags = {COMMON} {VARIANTS[variant]}",
        f"paths = -I{folder} -I{ROOT}/csrc/emulator/include -I{ROOT}/csrc -I{ROOT}/tests/cpp",
        "rule cxx\n  command = g++ -MMD -MF $out.d $flags $overlay $paths $more -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc",
        "rule link\n  command = g++ $flags $first $in -o $out",
    ]

    def compile_one(source: Path, subfolder: str, more: str = "") -> str:
        out = f"{subfolder}/{object_of(source)}"
        rules.append(f"build {out}: cxx {source}\n  more = {more}")
        return out

    # The emulator's own code is fast in every variant, none of ThreadSanitizer's business, and has
    # the types of threadIdx and blockIdx for a debugger. Plans compile faster than they would run.
    own, quick = "-O2 -g -fno-sanitize=thread", "-O0"
    emulator = [
        compile_one(source, "host", own if source.parent.name == "emulator" else quick)
        for source in emulator_sources()
    ]
    tests = ROOT / "tests" / "cpp"
    programs = {}
    if variant != "portable":  # kernels see no difference between the two kinds of fiber
        sources = [(source, ARCHS[0], "host", quick) for source in plan_sources()] + [
            (source, arch, f"sm{arch}", arch_flags(arch))
            for arch in ARCHS
            for source in kernel_sources()
        ]
        kernels = emulator + [
            str(fast_object(source, arch))
            if variant == "fast" or not watched(source, arch)
            else compile_one(source, subfolder, more)
            for source, arch, subfolder, more in sources
        ]
        for name in ("run_problems",) if variant == "tsan" else ("run_problems", "run_large"):
            programs[name] = kernels + [compile_one(tests / f"{name}.cpp", "host")]
        if variant == "fast":
            lister = [compile_one(tests / "list_launches.cpp", "host", arch_flags(80))]
            programs["list_launches"] = kernels + lister
    units = [
        compile_one(source, "host", arch_flags(80))
        for source in (tests / "test_main.cpp", *unit_sources(variant))
    ]
    programs["test_emulator"] = emulator + units
    if variant in ("fast", "sanitized"):
        classics = ROOT / "tests" / "emulator" / "classics"
        programs["classics"] = emulator + [
            compile_one(source, "host", f"{arch_flags(80)} -O0 -g")  # for the debugger
            for source in [*sorted(classics.glob("*.cu")), classics / "classics.cpp"]
        ]
    if overlays:  # g++ finds the .gch before the header itself
        headers = "standard_headers.h"
        rules.append(f"build {headers}.gch: cxx {tests}/{headers}\n  more = -O1 -x c++-header")
    for overlay in overlays:
        objects = list(programs[overlay.program])
        for source in overlay.sources:
            edited = overlay.folder / source
            file = edited if edited.exists() else CSRC / source
            mutated = f"{overlay.folder}/{Path(source).name}.o"
            objects.insert(0, mutated)
            rules.append(
                f"build {mutated}: cxx {file} | {headers}.gch\n"
                f"  more = -O1 {arch_flags(overlay.arch)}\n"
                f"  overlay = -I{overlay.folder} -include {headers}"
            )
        programs[f"{overlay.folder}/{overlay.program}"] = objects
    for program, objects in programs.items():
        rules.append(f"build {program}: link {' '.join(objects)}")
        if program.startswith("/"):
            rules.append("  first = -Wl,-z,muldefs")
    ninja_file = (overlays[0].folder if overlays else folder) / "build.ninja"
    ninja_file.write_text("\n".join(rules) + "\n")
    if variant != "portable":
        if not (LIBRARY / "build.ninja").exists():
            raise RuntimeError("the library has not been built here; run: make build")
        inside = [Path(name) for name in kernels if name.startswith(str(LIBRARY))]
        _ninja("-C", LIBRARY, *(name.relative_to(LIBRARY) for name in inside))
    _ninja("-C", folder, "-f", ninja_file)
    return folder


def _ninja(*arguments: str | Path) -> None:
    jobs = os.environ.get("CNNKERN_JOBS", str(os.cpu_count() or 1))
    command = [sys.executable, "-m", "ninja", "-j", jobs, "--quiet", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"building the C++ tests failed:\n{finished.stdout}{finished.stderr}")


if __name__ == "__main__":
    for variant_name in sys.argv[1:] or ["fast"]:
        print(build(variant_name))
