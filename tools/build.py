"""Builds cnnkern's two extension modules with ninja.

`_C` holds the operators for the CPU and, if nvcc is found, for CUDA; `_emulator` holds the same
CUDA sources compiled by g++ for the SIMT emulator. Both use only libtorch's stable ABI (2.13), so
one binary runs on every torch from 2.13 on.

    python tools/build.py                 build in place, into cnnkern/
    CNNKERN_CUDA=0 | 1                    leave CUDA out | fail if nvcc is missing
    CNNKERN_CUDA_ARCHS="80 90a"           build for fewer architectures
    CNNKERN_JOBS=1                        compile jobs (default: by cores and free memory)
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

DEFAULT_ARCHS = "75 80 86 89 90a 100 120"
PTX_ARCH = 80  # any newer GPU can compile it
TORCH_TARGET = "0x020d000000000000"  # 2.13
NVCC_PACKAGES = "cuda-toolkit[nvcc,cudart,crt,cccl,nvvm]==13.0.*"
EMULATED_ARCHS = (75, 80)
ISA_FLAGS = {
    "avx2": "-mavx2 -mfma -mf16c",
    "avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c",
}


class BuildError(RuntimeError):
    """A sentence for the user; no traceback is shown."""


def site_packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def torch_dir() -> Path:
    """The folder of the torch that the environment has, also when pip isolates the build."""
    spec = importlib.util.find_spec("torch")
    if spec and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    folder = site_packages() / "torch"
    if (folder / "include").is_dir():
        return folder
    raise BuildError("torch is not installed; run: pip install 'torch>=2.13'")


@dataclass(frozen=True)
class Cuda:
    nvcc: Path
    include: tuple[Path, ...]
    lib: Path
    version: str
    archs: tuple[str, ...]


def find_nvcc() -> Path | None:
    """CUDA_HOME, then PATH, then the environment's PyPI packages."""
    candidates = []
    if home := os.environ.get("CUDA_HOME"):
        candidates.append(Path(home) / "bin" / "nvcc")
    if on_path := shutil.which("nvcc"):
        candidates.append(Path(on_path))
    candidates.append(site_packages() / "nvidia" / "cu13" / "bin" / "nvcc")
    return next((path for path in candidates if path.is_file()), None)


def find_cuda() -> Cuda | None:
    """What CUDA is built with, or None and one line that says why and how to change it."""
    wish = os.environ.get("CNNKERN_CUDA", "")
    if wish not in ("", "0", "1"):
        raise BuildError(f"CNNKERN_CUDA is {wish!r}, but 0 or 1 is expected")
    if wish == "0":
        print("cnnkern: building without CUDA (CNNKERN_CUDA=0); unset it to build with nvcc.")
        return None
    nvcc = find_nvcc()
    if nvcc is None:
        how = f"pip install '{NVCC_PACKAGES}' (or set CUDA_HOME) and build again"
        if wish == "1":
            raise BuildError(f"CNNKERN_CUDA=1, but no nvcc was found; {how}")
        print(f"cnnkern: building without CUDA, no nvcc was found; for CUDA kernels: {how}.")
        return None
    printed = subprocess.run(
        [nvcc, "--dryrun", "-x", "cu", "-E", "/dev/null"], capture_output=True, text=True
    ).stderr
    found = re.search(r"^#\$ TOP=(.+)$", printed, re.M)
    top = Path(found.group(1)).resolve() if found else nvcc.resolve().parent.parent
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release ([\d.]+)", version)
    lib = next(
        (
            top / name
            for name in ("lib64", "lib", "targets/x86_64-linux/lib")
            if (top / name / "libcudart_static.a").is_file()
        ),
        None,
    )
    if lib is None:
        raise BuildError(
            f"nvcc is {nvcc}, but libcudart_static.a is not under {top}; "
            f"pip install '{NVCC_PACKAGES}'"
        )
    archs = tuple(os.environ.get("CNNKERN_CUDA_ARCHS", DEFAULT_ARCHS).split())
    return Cuda(nvcc, (top / "include",), lib, release.group(1) if release else "unknown", archs)


def jobs() -> int:
    """As many as there are cores, but no more than free memory allows at 2 GiB each."""
    if wish := os.environ.get("CNNKERN_JOBS"):
        return max(1, int(wish))
    cores = len(os.sched_getaffinity(0))
    try:
        text = Path("/proc/meminfo").read_text()
        free_kib = int(re.search(r"MemAvailable:\s+(\d+)", text).group(1))  # type: ignore[union-attr]
    except (OSError, AttributeError):
        return cores
    return max(1, min(cores, free_kib // (2 << 20)))


class NinjaFile:
    """Collects compile and link edges; every object has a command of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = [
            "ninja_required_version = 1.8",
            "rule cxx\n  command = $compiler -MMD -MF $out.d $flags -c $in -o $out\n"
            "  depfile = $out.d\n  deps = gcc\n  description = c++   $out",
            "rule nvcc\n  command = $compiler -MMD -MF $out.d $flags -c $in -o $out "
            "> $out.ptxas.txt 2>&1 || (cat $out.ptxas.txt; exit 1)\n"
            "  depfile = $out.d\n  deps = gcc\n  description = nvcc  $out",
            "rule link\n  command = $compiler -shared $in $flags -o $out\n"
            "  description = link  $out",
        ]

    def compile(self, rule: str, compiler: str, source: Path, variant: str, flags: str) -> str:
        name = source.relative_to(ROOT).as_posix().replace("/", "_")
        out = f"{variant}/{name}.o"
        self.lines.append(
            f"build {out}: {rule} {source}\n  compiler = {compiler}\n  flags = {flags}"
        )
        return out

    def link(self, compiler: str, objects: list[str], out: Path, flags: str) -> None:
        self.lines.append(
            f"build {out}: link {' '.join(objects)}\n  compiler = {compiler}\n  flags = {flags}"
        )

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "build.ninja"
        text = "\n".join(self.lines) + "\n"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        command = [ninja] if ninja else [sys.executable, "-m", "ninja"]
        done = subprocess.run([*command, "-C", str(self.folder), "-j", str(jobs())])
        if done.returncode:
            raise BuildError("the build failed; the compiler's messages are above")


def sources(*folders: str, suffix: str = ".cpp") -> list[Path]:
    return sorted(path for f in folders for path in (ROOT / "csrc" / f).glob(f"*{suffix}"))


def gencode(archs: tuple[str, ...]) -> str:
    """Machine code for each architecture, and PTX.

    The kernels know two paths, before sm_80 and from it, and what the front end makes of the newer
    one is assembled for all GPUs that have it; but registers are scarcer from sm_120 on.
    """
    number = {arch: int(arch.rstrip("af")) for arch in archs}
    shared = [arch for arch in archs if PTX_ARCH <= number[arch] < 120]
    codes = ",".join([*(f"sm_{arch}" for arch in shared), f"compute_{PTX_ARCH}"])
    alone = [f"-gencode arch=compute_{a},code=sm_{a}" for a in archs if a not in shared]
    return " ".join([*alone, f"-gencode arch=compute_{PTX_ARCH},code=[{codes}]"])


def include_flags() -> str:
    import pybind11

    torch_include = torch_dir() / "include"
    folders = [sysconfig.get_path("include"), pybind11.get_include(), torch_include]
    return f"-I{ROOT}/csrc " + " ".join(f"-isystem {folder}" for folder in folders)


def build(destination: Path, folder: Path) -> None:
    """Compiles everything under `folder` and puts modules and build records in `destination`."""
    cuda = find_cuda()
    compiler = os.environ.get("CXX", "g++")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    optimized = "-std=c++20 -O3 -fPIC -fvisibility=hidden -Wall -Wextra -ffp-contract=off"
    common = f"{optimized} {include_flags()} -DTORCH_TARGET_VERSION={TORCH_TARGET}"
    link = f"-L{torch_dir()}/lib -ltorch_cpu -lc10 -pthread -Wl,--as-needed"
    ninja = NinjaFile(folder)

    # _C: host code, CPU kernels per instruction set, plans; CUDA kernels if nvcc is there.
    plans = ("cuda/conv", "cuda/conv/ladder", "cuda/pool")
    host = sources(".", "common", "torch", "cpu", "cpu/conv", "cpu/pool", *plans)
    host = [s for s in host if s.name not in ("bindings_cuda.cpp", "bindings_emulator.cpp")]
    objects = []
    shared = []  # by both modules
    for source in host:
        more = ISA_FLAGS.get(source.stem.rpartition("_")[2], "")
        if cuda and source.name == "module.cpp":
            more = "-DCNNKERN_WITH_CUDA"
        objects.append(ninja.compile("cxx", compiler, source, "host", f"{common} {more}"))
        if source.parent.relative_to(ROOT / "csrc").as_posix() in ("common", *plans):
            shared.append(objects[-1])
    cuda_sources = sources(*plans, suffix=".cu")
    core_link = link
    if cuda:
        nvcc_flags = (
            f"-std=c++20 -O3 -lineinfo --expt-relaxed-constexpr --compress-mode=size -Xptxas -v "
            f"{gencode(cuda.archs)} "
            f"-ccbin {compiler} -Xcompiler -fPIC,-fvisibility=hidden -I{ROOT}/csrc"
        )
        for source in cuda_sources:
            objects.append(ninja.compile("nvcc", str(cuda.nvcc), source, "cuda", nvcc_flags))
        cuda_include = " ".join(f"-isystem {folder}" for folder in cuda.include)
        objects.append(
            ninja.compile(
                "cxx",
                compiler,
                ROOT / "csrc/torch/bindings_cuda.cpp",
                "host",
                f"{common} {cuda_include}",
            )
        )
        core_link += f" -L{cuda.lib} -lcudart_static -ldl -lrt"
    ninja.link(compiler, objects, destination / f"_C{suffix}", core_link)

    # _emulator: the same CUDA sources, once per architecture path they contain. Registers start
    # with a pattern: a GPU does not zero them either. tests/cpp/cpp_build.py links these objects.
    emulator = f"-I{ROOT}/csrc/emulator/include"
    objects = shared + [
        ninja.compile(
            "cxx",
            compiler,
            source,
            "emulator",
            f"{emulator} {common} -DCNNKERN_OP_NAMESPACE=cnnkern_emulator",
        )
        for source in [
            *sources("emulator"),
            ROOT / "csrc/ops.cpp",
            *(s for s in sources("torch") if s.stem.endswith("_args")),
            ROOT / "csrc/torch/bindings_emulator.cpp",
        ]
    ]
    for arch in EMULATED_ARCHS:
        kernel_flags = (
            f"-x c++ {emulator} -I{ROOT}/csrc {optimized} -ftrivial-auto-var-init=pattern "
            f"-DCNNKERN_CUDA_NAMESPACE=emulated_sm{arch} -DCNNKERN_ARCH={arch}0 "
            "-Wno-unknown-pragmas"
        )
        objects += [
            ninja.compile("cxx", compiler, source, f"emulated_sm{arch}", kernel_flags)
            for source in [*cuda_sources, ROOT / "csrc/emulator/arch_path.cu"]
        ]
    ninja.link(compiler, objects, destination / f"_emulator{suffix}", link)
    ninja.run()
    write_build_info(destination / "_build_info.json", folder, cuda, compiler)


def write_build_info(path: Path, folder: Path, cuda: Cuda | None, compiler: str) -> None:
    """Records what was built: compilers, architectures, and each kernel's resources."""
    gxx = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    records = []
    if cuda:
        from check_kernels import parse_ptxas

        for log in sorted((folder / "cuda").glob("*.ptxas.txt")):
            records += [asdict(record) for record in parse_ptxas(log.read_text())]
    info = {
        "compiler": gxx.splitlines()[0] if gxx else compiler,
        "torch_target": "2.13",
        "nvcc": cuda.version if cuda else None,
        "archs": list(cuda.archs) if cuda else [],
        "ptx": PTX_ARCH if cuda else None,
        "emulated_archs": [f"sm_{arch}" for arch in EMULATED_ARCHS],
        "kernels": records,
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(info, indent=1))
    temporary.replace(path)
    rows = [
        ("CPU", "yes, scalar + avx2 + avx512, chosen at run time"),
        (
            "CUDA",
            f"yes, nvcc {cuda.version}, sm_{' sm_'.join(cuda.archs)} + PTX"
            if cuda
            else "no (see the line above)",
        ),
        ("emulator", "yes, " + " + ".join(info["emulated_archs"])),
    ]
    print("\n".join(f"  {name:<9} {what}" for name, what in rows))


def main() -> int:
    try:
        build(ROOT / "cnnkern", ROOT / "build" / "ninja")
    except BuildError as error:
        print(f"cnnkern: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
