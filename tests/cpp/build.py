"""Builds the torch-free C++ tests: the CUDA kernels, the emulator and the programs that drive them.

Each variant has a folder build/tests_cpp/<variant>/ with three programs: `test_emulator` (cases for
the emulator and the primitives), `classics` (tests/emulator/classics) and `run_problems` (every
kernel on lines of tests/problems/*.txt; not in `portable`, which is there for its fibers). Builds
are incremental.

    python tests/cpp/build.py fast | sanitized | portable | tsan
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "tests_cpp"
ARCHS = (75, 80)

# Contraction off and registers filled with a pattern: a GPU gives neither for free.
COMMON = (
    "-std=c++20 -Wall -Wextra -Wno-unknown-pragmas -pthread "
    "-ffp-contract=off -ftrivial-auto-var-init=pattern"
)
VARIANTS = {
    "fast": "-O2 -g1",
    "sanitized": "-O1 -g1 -fsanitize=address,undefined,float-cast-overflow "
    "-fno-sanitize-recover=all",
    "portable": "-O1 -g1 -DCNNKERN_PORTABLE_FIBERS",
    "tsan": "-O1 -g1 -fsanitize=thread -DCNNKERN_THREAD_SANITIZER",
}
# The files of cases; most kernels in them are wrong in ways that are not ThreadSanitizer's business.
UNITS = ("test_emulator", "test_primitives", "test_profile", "test_races", "test_tensors")
TSAN_UNITS = ("test_thread_sanitizer",)


def kernel_sources() -> list[Path]:
    """What is compiled once per architecture path."""
    return sorted((ROOT / "csrc" / "cuda").rglob("*.cu")) + [ROOT / "csrc/emulator/arch_path.cu"]


def host_sources() -> list[Path]:
    """What both programs share and is compiled once."""
    csrc = ROOT / "csrc"
    return [
        *sorted((csrc / "emulator").glob("*.cpp")),
        *sorted((csrc / "common").glob("*.cpp")),
        *sorted((csrc / "cuda").rglob("*.cpp")),
        csrc / "cpu" / "reference.cpp",
    ]


def arch_flags(arch: int) -> str:
    return f"-x c++ -DCNNKERN_ARCH={arch}0 -DCNNKERN_CUDA_NAMESPACE=emulated_sm{arch}"


def build(variant: str, overlay: Path | None = None, mutated: tuple[str, ...] = ()) -> Path:
    """Compiles what has changed and returns the folder of the programs.

    With `overlay`, a folder laid out as csrc/, the sources named in `mutated` (paths under csrc/)
    are compiled with the overlay's files in place of the original ones, for one architecture path
    and into the overlay; everything else is taken from the variant's own build.
    """
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
        name = source.relative_to(ROOT).as_posix()
        within = source.is_relative_to(ROOT / "csrc") and str(source.relative_to(ROOT / "csrc"))
        out, overlay_flag = f"{subfolder}/{name.replace('/', '_')}.o", ""
        if overlay is not None and within in mutated and "75" not in subfolder:
            replaced = overlay / str(within)
            source = replaced if replaced.exists() else source
            out, overlay_flag = f"{overlay}/{name.replace('/', '_')}.o", f"-I{overlay}"
        rules.append(f"build {out}: cxx {source}\n  more = {more}\n  overlay = {overlay_flag}")
        return out

    # The emulator's own code is fast in every variant, none of ThreadSanitizer's business, and has
    # the types of threadIdx and blockIdx for a debugger.
    own = "-O2 -g -fno-sanitize=thread"
    host = [
        compile_one(source, "host", own if source.parent.name == "emulator" else "")
        for source in host_sources()
    ]
    emulator = [out for out in host if "csrc_emulator" in out]
    tests = ROOT / "tests" / "cpp"
    target = folder if overlay is None else overlay
    programs = {}
    if variant != "portable":  # kernels see no difference between the two kinds of fiber
        kernels = [
            compile_one(source, f"sm{arch}", arch_flags(arch))
            for arch in ARCHS
            for source in kernel_sources()
        ]
        runner = [compile_one(tests / "run_problems.cpp", "host")]
        programs[f"{target}/run_problems"] = kernels + host + runner
    if overlay is None:
        units = [
            compile_one(tests / f"{name}.cpp", "host", arch_flags(80))
            for name in ("test_main", *(TSAN_UNITS if variant == "tsan" else UNITS))
        ]
        programs[f"{target}/test_emulator"] = emulator + units
        classics = ROOT / "tests" / "emulator" / "classics"
        programs[f"{target}/classics"] = emulator + [
            compile_one(source, "host", f"{arch_flags(80)} -O0 -g")  # for the debugger
            for source in [*sorted(classics.glob("*.cu")), classics / "classics.cpp"]
        ]
    for program, objects in programs.items():
        rules.append(f"build {program}: link {' '.join(objects)}")
    rules.append(f"default {' '.join(programs)}")
    ninja_file = target / "build.ninja"
    ninja_file.write_text("\n".join(rules) + "\n")
    jobs = os.environ.get("CNNKERN_JOBS", str(os.cpu_count() or 1))
    command = ["-C", str(folder), "-f", str(ninja_file), "-j", jobs, "--quiet"]
    finished = subprocess.run(
        [sys.executable, "-m", "ninja", *command], capture_output=True, text=True
    )
    if finished.returncode != 0:
        raise RuntimeError(f"building the C++ tests failed:\n{finished.stdout}{finished.stderr}")
    return target


if __name__ == "__main__":
    for variant_name in sys.argv[1:] or ["fast"]:
        print(build(variant_name))
