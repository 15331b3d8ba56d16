"""Builds the torch-free C++ tests: the CUDA kernels, the emulator and the programs that drive them.

Each variant has a folder build/tests_cpp/<variant>/ with programs: `test_emulator` (cases for the
emulator and the primitives), `classics` (tests/emulator/classics), `run_problems` (every kernel on
lines of tests/problems/*.txt) and `run_large` (every kernel on tensors of more than 2^31 elements);
the last two not in `portable`, which is there for its fibers. `fast` has one more, `list_launches`
(the shape of every launch on every GPU). Builds are incremental.

    python tests/cpp/build.py fast | sanitized | portable | tsan
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
OUT = ROOT / "build" / "tests_cpp"
ARCHS = (75, 80)

# Contraction off and registers filled with a pattern: a GPU gives neither for free.
COMMON = (
    "-std=c++20 -Wall -Wextra -Wno-unknown-pragmas -pthread "
    "-ffp-contract=off -ftrivial-auto-var-init=pattern -fPIC -fvisibility=hidden"
)
VARIANTS = {
    "fast": "-O2 -g1",
    "sanitized": "-O1 -g1 -fsanitize=address,undefined,float-cast-overflow "
    "-fno-sanitize-recover=all",
    "portable": "-O1 -g1 -DCNNKERN_PORTABLE_FIBERS",
    "tsan": "-O1 -g1 -fsanitize=thread -DCNNKERN_THREAD_SANITIZER",
}


def kernel_sources() -> list[Path]:
    """What is compiled once per architecture path."""
    return sorted((ROOT / "csrc" / "cuda").rglob("*.cu")) + [ROOT / "csrc/emulator/arch_path.cu"]


def host_sources() -> list[Path]:
    """What the programs share and is compiled once."""
    csrc = ROOT / "csrc"
    return [
        *sorted((csrc / "emulator").glob("*.cpp")),
        *sorted((csrc / "common").glob("*.cpp")),
        *sorted((csrc / "cuda").rglob("*.cpp")),
        *sorted((csrc / "cpu").glob("reference*.cpp")),
        csrc / "cpu" / "pool" / "unfold.cpp",
    ]


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

    ``sources`` (paths under csrc/) are compiled with them, for one architecture path; all else of
    ``program`` is the variant's own. The program is linked into the folder.
    """

    folder: Path
    sources: tuple[str, ...]
    arch: int
    program: str


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
    rules = [
        f"flags = {COMMON} {VARIANTS[variant]}",
        f"paths = -I{ROOT}/csrc/emulator/include -I{ROOT}/csrc -I{ROOT}/tests/cpp",
        "rule cxx\n  command = g++ -MMD -MF $out.d $flags $overlay $paths $more -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc",
        "rule link\n  command = g++ $flags $in -o $out",
    ]

    def compile_one(source: Path, subfolder: str, more: str = "") -> str:
        out = f"{subfolder}/{source.relative_to(ROOT).as_posix().replace('/', '_')}.o"
        rules.append(f"build {out}: cxx {source}\n  more = {more}")
        return out

    # The emulator's own code is fast in every variant, none of ThreadSanitizer's business, and has
    # the types of threadIdx and blockIdx for a debugger.
    own = "-O2 -g -fno-sanitize=thread"
    host = [
        compile_one(source, "host", own if source.parent.name == "emulator" else "")
        for source in host_sources()
    ]
    tests = ROOT / "tests" / "cpp"
    programs = {}
    if variant != "portable":  # kernels see no difference between the two kinds of fiber
        kernels = [
            compile_one(source, f"sm{arch}", arch_flags(arch))
            for arch in ARCHS
            for source in kernel_sources()
        ]
        for name in ("run_problems", "run_large"):
            programs[name] = kernels + host + [compile_one(tests / f"{name}.cpp", "host")]
        if variant == "fast":
            lister = [compile_one(tests / "list_launches.cpp", "host", arch_flags(80))]
            programs["list_launches"] = kernels + host + lister
    units = [
        compile_one(source, "host", arch_flags(80))
        for source in (tests / "test_main.cpp", *unit_sources(variant))
    ]
    emulator = [out for out in host if "csrc_emulator" in out or "csrc_common" in out]
    programs["test_emulator"] = emulator + units
    classics = ROOT / "tests" / "emulator" / "classics"
    programs["classics"] = emulator + [
        compile_one(source, "host", f"{arch_flags(80)} -O0 -g")  # for the debugger
        for source in [*sorted(classics.glob("*.cu")), classics / "classics.cpp"]
    ]
    for overlay in overlays:
        objects = list(programs[overlay.program])
        for source in overlay.sources:
            edited = overlay.folder / source
            file = edited if edited.exists() else ROOT / "csrc" / source
            original = f"sm{overlay.arch}/csrc_{source.replace('/', '_')}.o"
            mutated = f"{overlay.folder}/{Path(source).name}.o"
            objects[objects.index(original)] = mutated
            rules.append(
                f"build {mutated}: cxx {file}\n  more = -O1 {arch_flags(overlay.arch)}\n"
                f"  overlay = -I{overlay.folder}"
            )
        programs[f"{overlay.folder}/{overlay.program}"] = objects
    for program, objects in programs.items():
        rules.append(f"build {program}: link {' '.join(objects)}")
    ninja_file = (overlays[0].folder if overlays else folder) / "build.ninja"
    ninja_file.write_text("\n".join(rules) + "\n")
    jobs = os.environ.get("CNNKERN_JOBS", str(os.cpu_count() or 1))
    command = ["-C", str(folder), "-f", str(ninja_file), "-j", jobs, "--quiet"]
    finished = subprocess.run(
        [sys.executable, "-m", "ninja", *command], capture_output=True, text=True
    )
    if finished.returncode != 0:
        raise RuntimeError(f"building the C++ tests failed:\n{finished.stdout}{finished.stderr}")
    return folder


if __name__ == "__main__":
    for variant_name in sys.argv[1:] or ["fast"]:
        print(build(variant_name))
