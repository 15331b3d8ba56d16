"""setuptools' build backend, plus one rule: torch is downloaded for the build only if the
environment that is being installed into has none (its headers are all that the build needs)."""

import sysconfig
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def _torch() -> list[str]:
    installed = (Path(sysconfig.get_path("purelib")) / "torch" / "include").is_dir()
    return [] if installed else ["torch>=2.13"]


def get_requires_for_build_wheel(config_settings=None):  # type: ignore[no-untyped-def]
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch()


def get_requires_for_build_editable(config_settings=None):  # type: ignore[no-untyped-def]
    return build_meta.get_requires_for_build_editable(config_settings) + _torch()
