"""Compiles the extension modules with tools/build.py; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))


class NinjaBuild(build_ext):
    """Hands the whole build to ninja, once for both modules."""

    def run(self) -> None:
        from build import BuildError, build

        destination = (
            ROOT / "cnnkern" if self.inplace else Path(self.build_lib).resolve() / "cnnkern"
        )
        destination.mkdir(parents=True, exist_ok=True)
        try:
            build(destination, ROOT / "build" / "ninja")
        except BuildError as error:
            sys.exit(f"cnnkern: {error}")


# The benchmark's problems live beside its results; a wheel carries them as a package of text files.
PROBLEMS = "cnnkern.bench.problems"

setup(
    packages=[*find_packages(include=["cnnkern*"]), PROBLEMS],
    package_dir={PROBLEMS: "benchmarks/problems"},
    package_data={
        "cnnkern": ["*.so", "_build_info.json", "py.typed", "*.pyi"],
        PROBLEMS: ["*.txt"],
    },
    ext_modules=[Extension("cnnkern._C", []), Extension("cnnkern._emulator", [])],
    cmdclass={"build_ext": NinjaBuild},
)
