"""nvcc for tests that compile kernels, found as tools/build.py finds it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Under a name of its own: tests/cpp has a build.py too.
_spec = importlib.util.spec_from_file_location("tools_build", ROOT / "tools" / "build.py")
_tools_build = importlib.util.module_from_spec(_spec)
sys.modules["tools_build"] = _tools_build
_spec.loader.exec_module(_tools_build)

NVCC = _tools_build.find_nvcc()


def compile_cubin(source: Path, arch: str, *flags: str) -> Path:
    """The machine code of a .cu file for one architecture, next to it."""
    cubin = source.with_suffix(".cubin")
    command = [NVCC, "-std=c++20", "-O3", "--expt-relaxed-constexpr", f"-arch=sm_{arch}", "-cubin"]
    finished = subprocess.run(
        [*command, *flags, f"-I{ROOT}/csrc", source, "-o", cubin], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    return cubin
