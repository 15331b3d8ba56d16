"""Compiles the extension modules with tools/build.py; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup
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


setup(
    ext_modules=[Extension("cnnkern._C", []), Extension("cnnkern._emulator", [])],
    cmdclass={"build_ext": NinjaBuild},
)
