"""Builds one wheel and runs the core tests against it on two versions of torch.

The wheel holds CUDA kernels if nvcc is there. It must work on a CPU build of the oldest torch that
is supported, and on a CUDA build of the newest. The tests run outside the source tree, so what is
tested is what was installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH_VERSIONS = ("2.13.0", None)  # None: the one in the environment that runs this script
TESTS = ("test_exact.py", "test_semantics.py", "test_errors.py")
TOOLS = ("numpy", "pytest", "hypothesis", "expecttest")


def run(*command: str | Path, **options: object) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def build_wheel(folder: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet",
        "--wheel-dir", folder, ROOT)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB")
    return wheel


def check(wheel: Path, version: str | None, folder: Path) -> None:
    """Installs the wheel beside that torch and runs the tests from another directory."""
    environment = folder / f"torch-{version or 'installed'}"
    if version is None:
        # The environment's own packages stay visible behind the wheel.
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--quiet",
            "--target",
            environment,
            wheel,
        )
        python = Path(sys.executable)
        variables = {**os.environ, "PYTHONPATH": str(environment)}
    else:
        run(sys.executable, "-m", "venv", environment)
        python = environment / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", f"torch=={version}", *TOOLS)
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
        variables = dict(os.environ)
    probe = "import torch, cnnkern; print(torch.__version__, cnnkern.__file__)"
    run(python, "-c", probe, cwd=folder, env=variables)
    tests = [ROOT / "tests" / name for name in TESTS]
    run(python, "-m", "pytest", "-q", "-x", "-c", os.devnull, "--rootdir", ROOT / "tests",
        "-p", "no:cacheprovider", *tests, cwd=folder, env=variables)  # fmt: skip


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cnnkern-wheel-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        for version in TORCH_VERSIONS:
            check(wheel, version, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
