"""Builds the CUDA operators for a stand-in GPU: csrc/torch/bindings_cuda.cpp over the emulator.

The library that comes out registers the operators of `cnnkern` for PyTorch's PrivateUse1 device,
with everything below them: launchers, kernels, the stand-in runtime. Objects of the `fast` tests
are used as they are; only what sees tensors is compiled here.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import cpp_build  # noqa: E402

ROOT, ARCH = cpp_build.ROOT, 80
SOURCES = (
    HERE / "backend.cpp",
    ROOT / "csrc/torch/bindings_cuda.cpp",
    *sorted((ROOT / "csrc/torch").glob("*_args.cpp")),
)


def build(overlay: Path | None = None, mutated: tuple[str, ...] = ()) -> Path:
    """Compiles what has changed and returns the library.

    With `overlay`, a folder laid out as csrc/, the sources named in `mutated` (paths under csrc/)
    are compiled with the overlay's files in place of the original ones, and into the overlay.
    """
    cpp_build.build("fast")
    folder = cpp_build.OUT / "standin"
    folder.mkdir(parents=True, exist_ok=True)
    torch = importlib.util.find_spec("torch").submodule_search_locations[0]
    stable = (
        "-O0 -g0 -DTORCH_TARGET_VERSION=0x020d000000000000 -DCNNKERN_CUDA_DISPATCH_KEY=PrivateUse1"
    )
    rules = [
        f"flags = {cpp_build.COMMON} {cpp_build.VARIANTS['fast']} {cpp_build.arch_flags(ARCH)}",
        f"paths = -I{ROOT}/csrc/emulator/include -I{ROOT}/csrc -isystem {torch}/include "
        f"-isystem {torch}/include/torch/csrc/api/include "
        f"-isystem {sysconfig.get_path('include')} -isystem {pybind11.get_include()}",
        "rule cxx\n  command = g++ -MMD -MF $out.d $flags $overlay $paths $more -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc",
        f"rule link\n  command = g++ -shared $in -L{torch}/lib -ltorch_cpu -lc10 -pthread -o $out",
    ]

    objects = []
    parts = (cpp_build.emulator_sources(), cpp_build.plan_sources(), cpp_build.kernel_sources())
    for source in (*(source for part in parts for source in part), *SOURCES):
        name = source.relative_to(ROOT).as_posix()
        here = source in SOURCES
        built = (
            folder / cpp_build.object_of(source) if here else cpp_build.fast_object(source, ARCH)
        )
        out, overlay_flag = str(built), ""
        if overlay is not None and name.removeprefix("csrc/") in mutated:
            replaced = overlay / name.removeprefix("csrc/")
            source = replaced if replaced.exists() else source
            out, overlay_flag = str(overlay / built.name), f"-I{overlay}"
            here = True
        if here:
            more = stable if source.parent.name == "torch" else ""
            rules.append(f"build {out}: cxx {source}\n  overlay = {overlay_flag}\n  more = {more}")
        objects.append(out)
    library = (overlay or folder) / "standin.so"
    rules.append(f"build {library}: link {' '.join(objects)}\ndefault {library}")
    ninja_file = (overlay or folder) / "standin.ninja"
    ninja_file.write_text("\n".join(rules) + "\n")
    finished = subprocess.run(
        [sys.executable, "-m", "ninja", "-C", str(folder), "-f", str(ninja_file), "--quiet"],
        capture_output=True,
        text=True,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"building the stand-in failed:\n{finished.stdout}{finished.stderr}")
    return library


if __name__ == "__main__":
    print(build())
