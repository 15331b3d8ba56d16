"""Builds one wheel and tests it on two versions of torch, then one without CUDA.

The first wheel holds CUDA kernels if nvcc is there. It must work on a CPU build of the oldest torch
that is supported, and on a CUDA build of the newest. The tests run outside the source tree, so what
is tested is what was installed. The kernels are the same on both, and their exact tests run in
`make test`; the oldest torch runs the tests of what operators, layers and transforms make of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_TORCH = "2.13.0"
TESTS = ("test_errors.py", "test_layers.py", "test_semantics.py", "test_func_transforms.py")
TOOLS = ("numpy", "pytest", "hypothesis", "expecttest")
PROBE = """
import sys, torch, cnnkern
from cnnkern import backends
assert cnnkern.__file__.startswith(sys.argv[1]), cnnkern.__file__
layer = cnnkern.Conv2d(3, 4, 3)
layer(torch.randn(2, 3, 8, 8)).sum().backward()
with cnnkern.backend("emulator"):
    layer(torch.randn(2, 3, 8, 8)).sum().backward()
print(f"torch {torch.__version__}, CUDA kernels built: {backends.cuda_built()}, {cnnkern.__file__}")
"""


def run(*command: str | Path, **options: object) -> None:
    print("$", *[part if len(str(part)) < 80 else "…" for part in command], flush=True)
    subprocess.run([str(part) for part in command], check=True, **options)  # type: ignore[call-overload]


def build_wheel(folder: Path, cuda: bool) -> Path:
    variables = dict(os.environ) if cuda else {**os.environ, "CNNKERN_CUDA": "0"}
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
    run(*pip, "--wheel-dir", folder, ROOT, env=variables)
    (wheel,) = folder.glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB")
    return wheel


def install(wheel: Path, folder: Path) -> dict[str, str]:
    """Unpacks the wheel into a folder that the returned environment puts before all others."""
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--quiet")
    run(*pip, "--target", folder, wheel)
    return {**os.environ, "PYTHONPATH": str(folder)}


def check(python: Path, environment: dict[str, str], site: Path, tests: tuple[str, ...]) -> None:
    """Probes the installed wheel, then runs the tests, both from outside the source tree."""
    run(python, "-c", PROBE, site, cwd=site, env=environment)
    if tests:
        pytest = (python, "-m", "pytest", "-q", "-x", "-c", os.devnull, "-p", "no:cacheprovider")
        files = [ROOT / "tests" / name for name in tests]
        run(*pytest, "--rootdir", ROOT / "tests", *files, cwd=site, env=environment)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cnnkern-wheel-") as name:
        top = Path(name).resolve()
        wheel = build_wheel(top / "wheel", cuda=True)
        site = top / "site"
        environment = install(wheel, site)
        check(Path(sys.executable), environment, site, ("test_errors.py",))

        oldest = top / "oldest"
        run(sys.executable, "-m", "venv", oldest)
        python = oldest / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", f"torch=={OLDEST_TORCH}", *TOOLS)
        check(python, environment, site, TESTS)

        plain = build_wheel(top / "wheel-without-cuda", cuda=False)
        site = top / "site-without-cuda"
        check(python, install(plain, site), site, ())
    return 0


if __name__ == "__main__":
    sys.exit(main())
