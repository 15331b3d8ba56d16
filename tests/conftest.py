"""What all tests share: a fixed seed, and the problem line that repeats a failure."""

import functools
import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "cpp")]
sys.path.append(str(Path(__file__).parent.parent / "examples"))


def pytest_addoption(parser):
    parser.addoption("--problem", help="test_fuzz.py checks this problem string, and no other")


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def programs():
    """Variant of the C++ tests -> folder of its programs, built when first asked for."""
    import cpp_build

    return functools.cache(cpp_build.build)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test of a problem prints the command that asks about the same problem."""
    report = (yield).get_result()
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")
    if report.failed and hasattr(case, "text"):
        command = f"python -m cnnkern explain '{case.text}' --device {case.device}"
        report.sections.append(("problem", f"{case.text}\n{command}"))
