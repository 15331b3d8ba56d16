"""Which problems a benchmark consists of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cnnkern.problems import Problem, read

_POOLS = ("maxpool", "avgpool", "adaptive_avgpool")
DIRECTIONS = {
    "fprop",
    "dgrad",
    "wgrad",
    "unfold",
    "fold",
    *_POOLS,
    *(f"{pool}_backward" for pool in _POOLS),
}

# Beside this file in an installed package, under benchmarks/ in a checkout.
_FOLDERS = (
    Path(__file__).parent / "problems",
    Path(__file__).parents[2] / "benchmarks" / "problems",
)


def list_nets() -> list[str]:
    """The networks whose layers :func:`read_net` knows, sorted."""
    return sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.txt")})


def resolve(target: str) -> tuple[str, list[str]]:
    """A network's name, a file with one problem a line, or one problem: its name and problems.

    Every problem that comes back names its direction; a single problem has no network's name.

    Raises:
        ValueError: the target is none of the three.
    """
    files = [folder / f"{target}.txt" for folder in _FOLDERS] + [Path(target)]
    for file in files:
        if file.is_file():
            return file.stem, [problem for line in read(file) for problem in expand(line)]
    if not any(letter.isdigit() for letter in target):
        raise ValueError(
            f"'{target}' is no network ({', '.join(list_nets())}), no file and no problem"
        )
    return "", expand(target)


def expand(problem: str) -> list[str]:
    """A convolution that names no direction stands for all three.

    Raises:
        ValueError: the string is no problem.
    """
    Problem.parse(problem)
    if DIRECTIONS.intersection(problem.split()):
        return [problem]
    return [f"{problem} {direction}" for direction in ("fprop", "dgrad", "wgrad")]


def change_batch(problem: str, change: Callable[[int], int]) -> str:
    """The problem with as many images as ``change`` makes of their number.

    >>> change_batch("net.conv1 x2 n8g32c32h7w7k32r3s3p1 f16", lambda images: 8 * images)
    'net.conv1 x2 n64g32c32h7w7k32r3s3p1 f16'
    """
    return re.sub(r"\bn(\d+)(?=[gc]\d)", lambda found: f"n{change(int(found[1]))}", problem)
